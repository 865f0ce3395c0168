//! Compiles the runtime again when a file of the embedded SDK comes or goes; changed files are tracked by rustc itself.

fn main() {
    for directory in ["../guest-sdk/rust", "../guest-sdk/macros", "../wit"] {
        println!("cargo::rerun-if-changed={directory}");
    }
}
