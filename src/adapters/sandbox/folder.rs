//! The folder of a scratch server and the prepared one it is copied from.

use super::scratch::stop;
use super::*;

pub(super) fn write_owner(folder: &Path, owner: &Owner) -> Result<(), Failure> {
    let text = serde_json::to_vec_pretty(owner)
        .map_err(|error| Failure::new(Code::Bug, "a sandbox's owner cannot be written as JSON").source(&error))?;
    files::write_durably(&folder.join("owner.json"), &text)
}

pub(super) fn read_owner(folder: &Path) -> Option<Owner> {
    serde_json::from_slice(&fs_err::read(folder.join("owner.json")).ok()?).ok()
}

pub(super) fn owned_by_us(folder: &Path) -> bool {
    read_owner(folder).is_some_and(|owner| owner.owner == Process::current())
}

pub(super) fn found_in(folder: &Path) -> Found {
    let location = SandboxLocation::Scratch { folder: folder.to_owned() };
    match read_owner(folder) {
        Some(owner) => {
            let alive = owner.owner.is_alive();
            Found { id: owner.id, location, persistent: owner.persistent, owner_alive: Some(alive) }
        }
        // Without its owner a folder is on its way out, or was never finished; the latter says by whom.
        None => {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let maker = name.strip_prefix(STAGING_PREFIX).and_then(|rest| rest.split('-').next()?.parse().ok());
            Found {
                id: String::new(),
                location,
                persistent: false,
                owner_alive: Some(maker.is_some_and(|pid| Process::of(pid).is_some())),
            }
        }
    }
}

pub(super) async fn remove_folder(folder: &Path) -> Result<(), Failure> {
    let owner = read_owner(folder);
    stop(&folder.join("data"), owner.as_ref().and_then(|owner| owner.postmaster.as_ref())).await?;
    remove_tree(folder).await
}

pub(super) async fn remove_tree(path: &Path) -> Result<(), Failure> {
    let owned = path.to_owned();
    let removed = tokio::task::spawn_blocking(move || match fs_err::remove_dir_all(&owned) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    });
    match removed.await {
        Ok(result) => result.map_err(|error| files::unwritable(path, &error)),
        Err(error) => Err(Failure::new(Code::Bug, "removing a sandbox was interrupted").source(&error)),
    }
}

/// Copies what is in `from` into `to`, which may be there and empty, and gives it to `owner`. A file system that can share blocks
/// between files is asked to.
pub(super) async fn copy_tree(from: &Path, to: &Path, owner: Option<&RunAs>) -> std::io::Result<()> {
    let (from, to, owner) = (from.to_owned(), to.to_owned(), owner.map(|user| (user.uid, user.gid)));
    tokio::task::spawn_blocking(move || copy_folder(&from, &to, owner)).await?
}

pub(super) fn copy_folder(from: &Path, to: &Path, owner: Option<(u32, u32)>) -> std::io::Result<()> {
    let give = |path: &Path| match owner {
        Some((uid, gid)) => std::os::unix::fs::lchown(path, Some(uid), Some(gid)),
        None => Ok(()),
    };
    match std::fs::DirBuilder::new().mode(0o700).create(to) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => give(to)?,
    }
    for entry in fs_err::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target, owner)?;
        } else {
            fs_err::copy(entry.path(), &target)?;
            give(&target)?;
        }
    }
    Ok(())
}

/// Puts a copy of `data` into the cache, whole or not at all.
pub(super) async fn keep_in_cache(data: &Path, cached: &Path) -> std::io::Result<()> {
    let (data, cached) = (data.to_owned(), cached.to_owned());
    tokio::task::spawn_blocking(move || {
        let folder = cached.parent().unwrap_or(Path::new("."));
        let ours = rustix::process::geteuid();
        std::fs::DirBuilder::new().mode(0o700).recursive(true).create(folder)?;
        let partial = tempfile::Builder::new().prefix(".partial-").tempdir_in(folder)?;
        let copy = partial.path().join("data");
        copy_folder(&data, &copy, Some((ours.as_raw(), rustix::process::getegid().as_raw())))?;
        // Unlike a sandbox, the cache is to survive a crash of the machine.
        #[cfg(target_os = "linux")]
        rustix::fs::syncfs(fs_err::File::open(&copy)?)?;
        #[cfg(not(target_os = "linux"))]
        rustix::fs::sync();
        match fs_err::rename(&copy, &cached) {
            // Another process was first: as good.
            Err(_) if cached.is_dir() => Ok(()),
            result => result,
        }
    })
    .await?
}
