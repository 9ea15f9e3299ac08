//! The configuration: `dbd.toml`, `.env` files and the environment, put together once at the start.
//!
//! One rule of precedence: a flag, then the key in `dbd.toml`, then the key's variable, then the default. A key that should follow
//! a variable says so, `{ env = "NAME" }`. Of the variables, the real environment wins over `.env.local`, and that over `.env`.

pub mod discover;
mod dotenv;
pub mod duration;
pub mod env;
mod file;
pub mod init;
pub mod keys;
pub mod model;
pub mod owners;
mod reference;
pub mod since;

pub use model::{
    Alerts, Artifacts, Command, Config, Environment, Health, Integrations, Journal, Migrations, Sandbox, SandboxData,
    SandboxServer, Tools, Watching,
};
pub use reference::reference;

use crate::domain::code::Code;
use crate::domain::failure::Failure;
use env::Variables;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// The name of the configuration file.
pub const FILE_NAME: &str = "dbd.toml";

/// Reads the configuration that counts in `start_dir`.
///
/// The root is the nearest folder upward that holds `dbd.toml`, else `start_dir` itself, as a canonical path. `config_flag` and
/// `journal_flag` are relative to `start_dir`; a file given by `config_flag` is read instead of the root's `dbd.toml`.
///
/// Connection URLs are read only when [`Config::environment`] or [`Config::sandbox_server`] asks for them, so that a broken URL of
/// `prod` does not stop work on `dev`.
///
/// # Errors
/// [`Code::FileUnreadable`], [`Code::BadConfig`], [`Code::UnknownKey`], [`Code::BadValue`], [`Code::BadArgument`].
pub fn load(
    start_dir: &Path,
    config_flag: Option<&Path>,
    journal_flag: Option<&Path>,
    process_env: &BTreeMap<String, String>,
) -> Result<Config, Failure> {
    let start = fs_err::canonicalize(start_dir).map_err(|error| unreadable(start_dir, &error))?;
    if !start.is_dir() {
        return Err(Failure::new(Code::FileUnreadable, format!("`{}` is not a folder", start_dir.display())));
    }
    let root = start.ancestors().find(|folder| folder.join(FILE_NAME).is_file()).unwrap_or(&start).to_owned();
    let file = match config_flag {
        Some(flag) => Some(start.join(flag)),
        None => Some(root.join(FILE_NAME)).filter(|path| path.is_file()),
    };
    let settings = match &file {
        None => file::Settings::default(),
        Some(path) => {
            let text = fs_err::read_to_string(path).map_err(|error| unreadable(path, &error))?;
            file::read(&shown(&root, path), &text)?
        }
    };
    let variables = variables(&root, process_env)?;
    let journal = match journal_flag {
        Some(flag) if flag.to_str().is_some_and(|text| text.contains("://")) => {
            return Err(Failure::new(
                Code::BadArgument,
                "`--journal` is a URL, and a journal on a server is not available yet",
            )
            .hint("give the path of a file on a local disk"));
        }
        flag => flag.map(|flag| start.join(flag)),
    };
    Config::new(root, file, settings, variables, journal)
}

/// The real environment over `.env.local` over `.env`.
fn variables(root: &Path, process_env: &BTreeMap<String, String>) -> Result<Variables, Failure> {
    // `.env` is read first, so that `${NAME}` in `.env.local` can refer to it; the layers below put them the right way round.
    let base = dotenv_file(root, ".env", process_env)?;
    let mut outer = base.clone();
    outer.extend(process_env.clone());
    let local = dotenv_file(root, ".env.local", &outer)?;
    Ok(Variables::of_layers([process_env.clone(), local, base]))
}

fn dotenv_file(root: &Path, name: &str, outer: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Failure> {
    let path = root.join(name);
    match fs_err::read_to_string(&path) {
        Ok(text) => dotenv::parse(name, &text, outer),
        // A folder called `.env` is a Python habit (a virtual environment), not a mistake.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::IsADirectory) => Ok(BTreeMap::new()),
        Err(error) => Err(unreadable(&path, &error)),
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> Failure {
    let failure = Failure::new(Code::FileUnreadable, format!("`{}` cannot be read", path.display()));
    match error.kind() {
        ErrorKind::NotFound => failure.cause("it does not exist"),
        ErrorKind::PermissionDenied => failure.cause("permission denied"),
        ErrorKind::InvalidData => failure.cause("it is not UTF-8"),
        _ => failure.source(error),
    }
}

/// `path` as a person should see it: relative to `root` if it lies below it.
pub(crate) fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// The candidate a person most likely meant by `word`, if one is near enough.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    candidates
        .into_iter()
        .map(|candidate| (strsim::osa_distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len().max(word.len()) / 3).clamp(1, 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// "`a`, `b` and `c`".
pub(crate) fn list<T: Display>(items: impl IntoIterator<Item = T>, last_joint: &str) -> String {
    let items: Vec<_> = items.into_iter().map(|item| format!("`{item}`")).collect();
    match items.split_last() {
        None => String::new(),
        Some((only, [])) => only.clone(),
        Some((last, rest)) => format!("{} {last_joint} {last}", rest.join(", ")),
    }
}

/// `text` as a path below `root`; an absolute one stays as it is.
fn below(root: &Path, text: &str) -> PathBuf {
    root.join(text.strip_prefix("./").unwrap_or(text))
}

#[cfg(test)]
mod tests;
