//! The `selvedge` program.

/// Small allocations are this program's daily work, on several threads at once.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    selvedge::cli::main()
}
