//! The fuzzing binary: libFuzzer around one of the targets of the runtime or the SDK. `fuzz/run` builds and starts it.
//!
//! Owns only the selection: targets live beside the code that they test, where the ordinary tests run their seeds.
//! Outside of `fuzz/run`, which compiles with `--cfg fuzzing`, there are no targets and this program only reports that.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
mod chosen {
    use std::sync::OnceLock;

    use libfuzzer_sys::fuzz_target;

    static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

    fuzz_target!(
        init: {
            let targets = holdfast_runtime::fuzz::TARGETS.iter().chain(&holdfast::fuzz::TARGETS);
            let asked = std::env::var("HOLDFAST_FUZZ").unwrap_or_default();
            match targets.clone().find(|(name, _)| *name == asked) {
                Some((_, target)) => _ = TARGET.set(*target),
                None => {
                    let names: Vec<_> = targets.map(|(name, _)| *name).collect();
                    eprintln!("fuzz/run TARGET [SECONDS]; the targets are {}", names.join(", "));
                    std::process::exit(2);
                }
            }
        },
        |input: &[u8]| TARGET.get().expect("chosen at the start")(input)
    );
}

#[cfg(not(fuzzing))]
fn main() {
    eprintln!("start it with fuzz/run, which compiles the targets in");
    std::process::exit(2);
}
