//! The `selvedge` program.

fn main() -> std::process::ExitCode {
    selvedge::cli::main()
}
