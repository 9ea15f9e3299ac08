//! What several adapters stand on: child processes, PostgreSQL's programs, users, files that survive a crash.

pub mod child;
pub mod files;
pub mod os_user;
pub mod pg_bin;
pub mod process;
pub mod psql;

/// Makes an executable shell script for a test.
///
/// Another process writes it: while this one has it open for writing, a child that another test forks at that moment would hold it
/// open too, and starting it would fail with "text file busy".
#[cfg(test)]
pub(crate) fn write_script(path: &std::path::Path, body: &str) {
    let status = std::process::Command::new("sh")
        .args(["-c", "printf '#!/bin/sh\\n%s\\n' \"$2\" > \"$1\" && chmod 755 \"$1\"", "sh"])
        .args([path.as_os_str(), body.as_ref()])
        .status();
    assert!(status.unwrap().success());
}
