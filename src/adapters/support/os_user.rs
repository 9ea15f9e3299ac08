//! The ordinary user a scratch server runs as when dbd itself is root: PostgreSQL refuses to run as root.

use crate::domain::code::Code;
use crate::domain::failure::Failure;
use nix::unistd::{Uid, User};

/// An ordinary user of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunAs {
    /// The name.
    pub name: String,
    /// The user id; never 0.
    pub uid: u32,
    /// The id of the user's main group.
    pub gid: u32,
}

/// Who a server is to run as: `None` when dbd is an ordinary user itself, and stays one.
///
/// As root, the first of: `configured` (a name or a number), `sudo_uid` (the value of `SUDO_UID`), `postgres`, `nobody`.
///
/// # Errors
/// [`Code::NoOrdinaryUser`] if a configured user does not exist or is root, or if none of the others exists.
pub fn ordinary_user(configured: Option<&str>, sudo_uid: Option<&str>) -> Result<Option<RunAs>, Failure> {
    choose(rustix::process::geteuid().is_root(), configured, sudo_uid, &look_up)
}

fn look_up(name: &str) -> Option<RunAs> {
    let by_name = User::from_name(name).ok().flatten();
    let user =
        by_name.or_else(|| name.parse().ok().and_then(|uid| User::from_uid(Uid::from_raw(uid)).ok().flatten()))?;
    Some(RunAs { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() })
}

fn choose(
    root: bool,
    configured: Option<&str>,
    sudo_uid: Option<&str>,
    look_up: &dyn Fn(&str) -> Option<RunAs>,
) -> Result<Option<RunAs>, Failure> {
    if !root {
        return Ok(None);
    }
    if let Some(name) = configured {
        let hint = "set `[sandbox] user` to an ordinary user of this machine";
        return match look_up(name) {
            Some(user) if user.uid != 0 => Ok(Some(user)),
            Some(_) => {
                Err(Failure::new(Code::NoOrdinaryUser, format!("the configured sandbox user `{name}` is root"))
                    .hint(hint))
            }
            None => {
                Err(Failure::new(Code::NoOrdinaryUser, format!("the configured sandbox user `{name}` does not exist"))
                    .hint(hint))
            }
        };
    }
    [sudo_uid, Some("postgres"), Some("nobody")]
        .into_iter()
        .flatten()
        .filter_map(look_up)
        .find(|user| user.uid != 0)
        .map(Some)
        .ok_or_else(|| {
            Failure::new(
                Code::NoOrdinaryUser,
                "dbd runs as root, and there is no ordinary user to run the scratch server",
            )
            .hint("run dbd as an ordinary user, or create one with `useradd --system postgres`")
            .hint("or name one with `[sandbox] user`")
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(name: &str) -> Option<RunAs> {
        let uid = match name {
            "root" | "0" => 0,
            "ann" | "1000" => 1000,
            "postgres" => 101,
            "nobody" => 65_534,
            _ => return None,
        };
        Some(RunAs { name: name.to_owned(), uid, gid: uid })
    }

    #[test]
    fn an_ordinary_user_stays_who_they_are() {
        assert_eq!(choose(false, Some("ann"), Some("1000"), &machine).unwrap(), None);
    }

    #[test]
    fn root_hands_over_in_the_stated_order() {
        let name = |configured, sudo| choose(true, configured, sudo, &machine).unwrap().unwrap().name;
        assert_eq!(name(Some("ann"), None), "ann");
        assert_eq!(name(None, Some("1000")), "1000");
        assert_eq!(name(None, Some("0")), "postgres", "sudo from root is no ordinary user");
        assert_eq!(name(None, None), "postgres");
        assert_eq!(
            choose(true, None, None, &|n| machine(n).filter(|u| u.name == "nobody")).unwrap().unwrap().uid,
            65_534
        );
    }

    #[test]
    fn a_configured_user_is_never_quietly_replaced() {
        for name in ["root", "nosuchuser"] {
            let failure = choose(true, Some(name), None, &machine).unwrap_err();
            assert_eq!(failure.code, Code::NoOrdinaryUser);
            assert!(failure.message.contains(name));
        }
        assert_eq!(choose(true, None, None, &|_| None).unwrap_err().code, Code::NoOrdinaryUser);
    }

    #[test]
    fn the_system_knows_root_by_name_and_by_number() {
        assert_eq!(look_up("root").unwrap().uid, 0);
        assert_eq!(look_up("0").unwrap().name, "root");
        assert_eq!(look_up("no such user"), None);
    }
}
