//! The key that signs evidence: found, made, replaced, and never anything but the one the journal knows.

use crate::config::Config;
use crate::domain::audit::{AuditEvent, Trail};
use crate::domain::code::Code;
use crate::domain::event::Actor;
use crate::domain::failure::Failure;
use crate::domain::secret::Secret;
use crate::ports::journal::{AppendFailure, Journal};
use crate::wire::OpenJournal;
use dbd_journal::note::{self, PublicKey, SigningKey};

/// The key that signs now; made, and its making recorded, if there never was one.
///
/// # Errors
/// [`AuditKeyUnusable`](Code::AuditKeyUnusable) if the key at hand is not the one the journal knows, or if that one is gone.
pub(crate) fn signer(config: &Config, journal: &mut OpenJournal, actor: &Actor) -> Result<SigningKey, Failure> {
    loop {
        let mut trail = journal.trail()?;
        let held = held(config, &trail)?;
        match (held, trail.current()) {
            (Some(key), Some(current)) if key.public().to_string() == current.key => return Ok(key),
            (Some(_), Some(current)) => {
                return Err(Failure::new(
                    Code::AuditKeyUnusable,
                    format!("{} is not the key the journal knows, {}", place(config), current.key),
                )
                .hint(
                    "put the right key back; if this one is to take its place: dbd audit key rotate --reason \"why\"",
                ));
            }
            (None, Some(current)) => {
                return Err(Failure::new(
                    Code::AuditKeyUnusable,
                    format!("{} is gone; the journal knows the key {}", place(config), current.key),
                )
                .hint("put it back; if it is lost: dbd audit key rotate --reason \"why\""));
            }
            (held, None) => {
                let key = match held {
                    Some(key) => key,
                    None => {
                        let key = generate(&journal.origin())?;
                        // First the file: a key of which only its event is left could never sign.
                        crate::wire::audit_key_file(config).write(&Secret::new(key.secret()))?;
                        key
                    }
                };
                let event = AuditEvent::KeyCreated { key: key.public().to_string() };
                if append(journal, &mut trail, &event, actor)?.is_some() {
                    return Ok(key);
                }
            }
        }
    }
}

/// Puts another key in the place of the one that signs now, and records it. Gives the new public key.
///
/// # Errors
/// [`BadArgument`](Code::BadArgument) if the old key is not at hand to vouch for the new one and no reason is given.
pub(crate) fn rotate(
    config: &Config,
    journal: &mut OpenJournal,
    actor: &Actor,
    reason: Option<&str>,
) -> Result<PublicKey, Failure> {
    let mut trail = journal.trail()?;
    let Some(current) = trail.current().map(|current| current.key.clone()) else {
        return signer(config, journal, actor).map(|key| key.public());
    };
    let file = crate::wire::audit_key_file(config);
    let old = of_file(config, &trail)?.filter(|key| key.public().to_string() == current);
    let (new, in_file) = match variable(config)? {
        Some(key) if key.public().to_string() == current => {
            return Err(Failure::new(Code::BadArgument, "DBD_AUDIT_KEY holds the key that signs now")
                .hint("put the new key there first; the old one in the key file vouches for it"));
        }
        Some(key) => (key, false),
        None => (generate(&journal.origin())?, true),
    };
    if old.is_none() && reason.is_none_or(|reason| reason.trim().is_empty()) {
        return Err(Failure::new(
            Code::BadArgument,
            "the key that signs now is not at hand, so it cannot vouch for its successor",
        )
        .hint("put it back for the moment; if it is lost, say so with --reason"));
    }
    let key = new.public();
    let event = AuditEvent::KeyRotated {
        from: current,
        key: key.to_string(),
        endorsement: old.map(|old| old.sign(&endorsement(&key.to_string()))),
        reason: reason.map(str::to_owned),
    };
    // The new key waits beside the old one until its event is durable; whichever moment the process ends at, one of them is right.
    if in_file {
        file.write_next(&Secret::new(new.secret()))?;
    }
    if append(journal, &mut trail, &event, actor)?.is_none() {
        return Err(Failure::new(Code::Busy, "somebody else changed the audit stream meanwhile").hint("try again"));
    }
    if in_file {
        file.promote()?;
    }
    Ok(key)
}

/// What a retired key signs for its successor.
pub(crate) fn endorsement(key: &str) -> String {
    format!("dbd audit key\n{key}\n")
}

/// Whether `note` is the word of `retired` for `key`.
pub(crate) fn vouches(note: &str, retired: &str, key: &str) -> bool {
    PublicKey::parse(retired)
        .is_some_and(|retired| note::open(note, [&retired]).is_ok_and(|(text, _)| text == endorsement(key)))
}

/// Appends to the audit stream; `None` if somebody else did meanwhile.
///
/// # Errors
/// What the journal has to say.
pub(crate) fn append(
    journal: &mut OpenJournal,
    trail: &mut Trail,
    event: &AuditEvent,
    actor: &Actor,
) -> Result<Option<u64>, Failure> {
    match journal.append_audit(trail, event, actor, crate::wire::now_ms()) {
        Ok(seq) => Ok(Some(seq)),
        Err(AppendFailure::Stale) => Ok(None),
        Err(AppendFailure::Superseded) => Err(Failure::new(Code::Busy, "the audit stream changed hands meanwhile")),
        Err(AppendFailure::Broken(failure)) => Err(failure),
    }
}

/// Where the key comes from, for people.
pub(crate) fn place(config: &Config) -> String {
    match config.journal.audit_key {
        Some(_) => "the key in DBD_AUDIT_KEY (`journal.audit_key`)".to_owned(),
        None => format!("the key in {}", config.shown(&config.journal.audit_key_file)),
    }
}

fn generate(origin: &str) -> Result<SigningKey, Failure> {
    SigningKey::generate(origin)
        .map_err(|error| Failure::new(Code::AuditKeyUnusable, "no random bytes for a new key").cause(error))
}

fn held(config: &Config, trail: &Trail) -> Result<Option<SigningKey>, Failure> {
    match variable(config)? {
        Some(key) => Ok(Some(key)),
        None => of_file(config, trail),
    }
}

fn variable(config: &Config) -> Result<Option<SigningKey>, Failure> {
    config.journal.audit_key.as_ref().map(|secret| parsed(secret, &place(config))).transpose()
}

/// The key of the file. A rotation that was cut short after its event is finished first.
fn of_file(config: &Config, trail: &Trail) -> Result<Option<SigningKey>, Failure> {
    let file = crate::wire::audit_key_file(config);
    let shown = format!("the key in {}", config.shown(file.path()));
    if let Some(next) = file.read_next()?.and_then(|next| SigningKey::parse(next.expose()))
        && trail.current().is_some_and(|current| current.key == next.public().to_string())
    {
        file.promote()?;
    }
    file.read()?.map(|secret| parsed(&secret, &shown)).transpose()
}

fn parsed(secret: &Secret, place: &str) -> Result<SigningKey, Failure> {
    SigningKey::parse(secret.expose()).ok_or_else(|| {
        Failure::new(Code::AuditKeyUnusable, format!("{place} cannot be read"))
            .hint("it is one line, PRIVATE+KEY+name+id+data, as `dbd audit key rotate` writes it")
    })
}
