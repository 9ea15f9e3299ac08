//! Arguments in, exit code out; nothing else.

/// A catalog of a large database or a journal of many events is a great many small pieces, the latter handed from one thread to another.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    dbd::cli::run()
}
