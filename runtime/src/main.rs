//! The `holdfast` binary. Everything it does is in the library's `cli`, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    holdfast_runtime::cli::main()
}
