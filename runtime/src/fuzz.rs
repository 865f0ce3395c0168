//! The list of fuzz targets: every decoder of the host that reads bytes of guests, clients or disks. `fuzz/README.md`
//! describes how to run one.
//!
//! A target is a function of bytes that panics on a fault. It lives in the `fuzz.rs` of the layer whose decoder it
//! tests. Only tests and the fuzzer compile this module; the tests run the seeds in `fuzz/seeds`, so that a corrected
//! fault stays corrected.

use crate::{cli, config, gateway, storage};

/// The name of a target and the function that processes an input.
pub type Target = (&'static str, fn(&[u8]));

/// All targets, in the order in which bytes enter the host.
pub const TARGETS: [Target; 14] = [
    ("heads", gateway::fuzz::heads),
    ("calm", gateway::fuzz::calm),
    ("frames", gateway::fuzz::frames),
    ("hosts", gateway::fuzz::hosts),
    ("path", gateway::fuzz::path),
    ("query", gateway::fuzz::query),
    ("calls", gateway::fuzz::calls),
    ("cursor", storage::fuzz::cursor),
    ("sql", storage::fuzz::sql),
    ("import", storage::fuzz::import),
    ("record", storage::commit_log::fuzz::record),
    ("log", storage::commit_log::fuzz::log),
    ("config", config),
    ("events", cli::fuzz::events),
];

/// Tests `holdfast.toml`: a file that parses can be used.
fn config(input: &[u8]) {
    if let Ok(text) = str::from_utf8(input)
        && let Ok(file) = config::ConfigFile::parse(text)
    {
        let limits = file.server("data".as_ref()).limits;
        let _ = (limits.cpu_time(), limits.wall_time(), limits.idle(), limits.shutdown());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_find_nothing() {
        let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
        for (name, target) in TARGETS {
            let files = std::fs::read_dir(seeds.join(name)).unwrap_or_else(|error| panic!("seeds of {name}: {error}"));
            for file in files {
                target(&std::fs::read(file.unwrap().path()).unwrap());
            }
        }
    }
}
