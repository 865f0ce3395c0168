//! What the fuzzer may choose from: every decoder of the host that reads bytes of guests, clients or disks. `fuzz/README.md` says how
//! to run one.
//!
//! A target is a function of bytes that panics when something is wrong. It lives in the `fuzz.rs` of the layer whose
//! decoder it tries. Only tests and the fuzzer compile any of this; the tests run the seeds in `fuzz/seeds`, so that what was
//! once found stays corrected.

use crate::{cli, config, gateway, storage};

/// A target's name and what it does with an input.
pub type Target = (&'static str, fn(&[u8]));

/// All of them, in the order in which bytes come in.
pub const TARGETS: [Target; 12] = [
    ("heads", gateway::fuzz::heads),
    ("frames", gateway::fuzz::frames),
    ("hosts", gateway::fuzz::hosts),
    ("path", gateway::fuzz::path),
    ("query", gateway::fuzz::query),
    ("cursor", storage::fuzz::cursor),
    ("sql", storage::fuzz::sql),
    ("import", storage::fuzz::import),
    ("record", storage::commit_log::fuzz::record),
    ("log", storage::commit_log::fuzz::log),
    ("config", config),
    ("events", cli::fuzz::events),
];

/// `holdfast.toml`: one that is taken can be used.
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
