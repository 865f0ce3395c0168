//! Compiles the runtime again when a file of the embedded SDKs or templates comes or goes; changed files are tracked by
//! rustc itself.

fn main() {
    for directory in ["../guest-sdk", "../wit", "templates"] {
        println!("cargo::rerun-if-changed={directory}");
    }
}
