//! Signed notes and checkpoints, as the transparency world writes them (C2SP signed-note and tlog-checkpoint, Ed25519).
//!
//! ```text
//! dbd/build-7/192f0c-1a2b            the text: for a checkpoint the origin,
//! 412                                the number of events,
//! qINS1GRFhWHwdkUeqLEoP4yEMkTBBzxB…  and the root over them, in base64
//!                                    a blank line
//! — dbd/build-7/192f0c-1a2b Az3grlg… who signed: the key's name; base64 of the key's id (4 bytes) and the signature (64 bytes)
//! ```
//!
//! A public key is written `name+id+base64(01 ‖ key)`, a private one `PRIVATE+KEY+name+id+base64(01 ‖ seed)`; the id is the beginning of
//! SHA-256(name ‖ 0A ‖ 01 ‖ key). What a note says is the business of whoever signs it.

use crate::merkle::Hash;
use data_encoding::{BASE64, HEXLOWER};
use ed25519_dalek::{Signature, Signer, VerifyingKey};
use sha2::{Digest, Sha256};
use std::fmt;

/// The byte that stands for Ed25519 in keys and key ids.
const ED25519: u8 = 1;

/// Why a note is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is not written as a signed note.
    #[error("it is no signed note: {0}")]
    Malformed(&'static str),
    /// None of its signatures is by one of the keys.
    #[error("it is not signed by {0}")]
    NotSigned(String),
    /// A signature that claims to be by one of the keys is not.
    #[error("the signature by {0} is not over this text")]
    Wrong(String),
}

/// A key that verifies.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    key: VerifyingKey,
}

impl PublicKey {
    /// Reads the written form; `None` unless it is exactly what printing gives.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().splitn(3, '+');
        let (name, _, data) = (parts.next()?, parts.next()?, parts.next()?);
        let data = BASE64.decode(data.as_bytes()).ok()?;
        let (kind, bytes) = data.split_first()?;
        let key = VerifyingKey::from_bytes(bytes.try_into().ok()?).ok()?;
        let key = Self { name: name.to_owned(), key };
        (*kind == ED25519 && !name.is_empty() && key.to_string() == text.trim()).then_some(key)
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    fn id(&self) -> [u8; 4] {
        let hash = Sha256::new()
            .chain_update(&self.name)
            .chain_update([b'\n', ED25519])
            .chain_update(self.key.as_bytes())
            .finalize();
        [hash[0], hash[1], hash[2], hash[3]]
    }

    fn data(&self) -> Vec<u8> {
        [&[ED25519][..], self.key.as_bytes()].concat()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.name, HEXLOWER.encode(&self.id()), BASE64.encode(&self.data()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A key that signs. Printing it shows the public half; it is wiped from memory when dropped.
pub struct SigningKey {
    name: String,
    key: ed25519_dalek::SigningKey,
}

impl SigningKey {
    /// A new key for the journal `origin`. What a key's name may not hold becomes `_`.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub fn generate(origin: &str) -> Result<Self, getrandom::Error> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed)?;
        let name = origin.chars().map(|c| if c.is_whitespace() || c == '+' { '_' } else { c }).collect();
        Ok(Self { name, key: ed25519_dalek::SigningKey::from_bytes(&seed) })
    }

    /// Reads the written form; `None` if it is not one, or if its id belongs to another key.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.trim().strip_prefix("PRIVATE+KEY+")?.splitn(3, '+');
        let (name, id, data) = (parts.next()?, parts.next()?, parts.next()?);
        let data = BASE64.decode(data.as_bytes()).ok()?;
        let (kind, seed) = data.split_first()?;
        let key = Self { name: name.to_owned(), key: ed25519_dalek::SigningKey::from_bytes(seed.try_into().ok()?) };
        let named = !name.is_empty() && !name.contains(char::is_whitespace);
        (*kind == ED25519 && named && HEXLOWER.encode(&key.public().id()) == id).then_some(key)
    }

    /// The written form: a secret.
    #[must_use]
    pub fn secret(&self) -> String {
        let data = [&[ED25519][..], &self.key.to_bytes()].concat();
        format!("PRIVATE+KEY+{}+{}+{}", self.name, HEXLOWER.encode(&self.public().id()), BASE64.encode(&data))
    }

    /// The key that verifies what this one signs.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey { name: self.name.clone(), key: self.key.verifying_key() }
    }

    /// `text` as a signed note. The text must end in a line break, which is added where it is missing.
    #[must_use]
    pub fn sign(&self, text: &str) -> String {
        let end = if text.ends_with('\n') { "" } else { "\n" };
        let text = format!("{text}{end}");
        let signature = self.key.sign(text.as_bytes());
        let data = [&self.public().id()[..], &signature.to_bytes()].concat();
        format!("{text}\n\u{2014} {} {}\n", self.name, BASE64.encode(&data))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({})", self.public())
    }
}

/// The text of a note that is signed by one of `keys`, with the key. Signatures by others are passed over, as the format wants it.
///
/// # Errors
/// [`NoteError`] when it is no note, when none of the keys signed it, or when one of them is claimed to have and has not.
pub fn open<'n, 'k>(
    note: &'n str,
    keys: impl IntoIterator<Item = &'k PublicKey>,
) -> Result<(&'n str, &'k PublicKey), NoteError> {
    let at = note.rfind("\n\n").ok_or(NoteError::Malformed("there is no blank line before the signatures"))?;
    let (text, signatures) = (&note[..=at], &note[at + 2..]);
    if !signatures.ends_with('\n') {
        return Err(NoteError::Malformed("it does not end in a line break"));
    }
    let keys: Vec<&PublicKey> = keys.into_iter().collect();
    let mut signed = None;
    for line in signatures.lines() {
        let (name, data) = line
            .strip_prefix("\u{2014} ")
            .and_then(|rest| rest.split_once(' '))
            .ok_or(NoteError::Malformed("a line after the blank one is no signature"))?;
        let data =
            BASE64.decode(data.as_bytes()).map_err(|_| NoteError::Malformed("a signature is not written in base64"))?;
        let Some((id, signature)) = data.split_at_checked(4) else {
            return Err(NoteError::Malformed("a signature is too short"));
        };
        let Some(key) = keys.iter().copied().find(|key| key.name == name && key.id() == id) else { continue };
        let signature = Signature::from_slice(signature).map_err(|_| NoteError::Wrong(name.to_owned()))?;
        // Strict: one text and key have one signature, and none is by a weak key.
        key.key.verify_strict(text.as_bytes(), &signature).map_err(|_| NoteError::Wrong(name.to_owned()))?;
        signed = Some(key);
    }
    let names: Vec<String> = keys.iter().map(ToString::to_string).collect();
    signed.map(|key| (text, key)).ok_or_else(|| NoteError::NotSigned(names.join(" or ")))
}

/// What a checkpoint says: that the first `size` events of `origin` have this root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The journal.
    pub origin: String,
    /// How many events.
    pub size: u64,
    /// The root over them.
    pub root: Hash,
}

impl Checkpoint {
    /// The text of the note.
    #[must_use]
    pub fn text(&self) -> String {
        format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(&self.root))
    }

    /// Reads the text of a note; lines after the third are allowed by the format and passed over.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let number: u64 = size.parse().ok()?;
        let root = BASE64.decode(root.as_bytes()).ok()?.try_into().ok()?;
        (!origin.is_empty() && number.to_string() == size).then(|| Self {
            origin: origin.to_owned(),
            size: number,
            root,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> SigningKey {
        SigningKey { name: "dbd/host/1".to_owned(), key: ed25519_dalek::SigningKey::from_bytes(&[7; 32]) }
    }

    #[test]
    fn a_note_of_the_go_checksum_database_opens() {
        // From the documentation of golang.org/x/mod/sumdb/note: made by the reference implementation.
        let key = PublicKey::parse("PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW").unwrap();
        let text =
            "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
        let note = format!(
            "{text}\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
        );
        assert_eq!(open(&note, [&key]).unwrap().0, text);
        let signer =
            SigningKey::parse("PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz")
                .unwrap();
        assert_eq!((signer.sign(text), signer.public()), (note, key));
    }

    #[test]
    fn a_key_reads_back_and_nothing_near_it_does() {
        let (signer, public) = (key(), key().public());
        assert_eq!(PublicKey::parse(&public.to_string()), Some(public.clone()));
        assert_eq!(SigningKey::parse(&signer.secret()).unwrap().public(), public);
        let text = public.to_string();
        for bad in
            [text.replace("host", "post"), text.replace('+', ""), format!("+{text}"), text[..text.len() - 4].to_owned()]
        {
            assert_eq!(PublicKey::parse(&bad), None, "{bad}");
        }
        assert!(SigningKey::parse(&signer.secret().replace("host", "post")).is_none());
        assert!(!format!("{signer:?}").contains(signer.secret().rsplit('+').next().unwrap()));
        let odd = SigningKey::generate("my host+1").unwrap();
        assert_eq!(odd.public().name(), "my_host_1");
    }

    #[test]
    fn a_note_that_was_touched_does_not_open() {
        let (signer, public) = (key(), key().public());
        let note = signer.sign("one\ntwo\n");
        assert_eq!(open(&note, [&public]).unwrap().0, "one\ntwo\n");
        assert_eq!(signer.sign("one\ntwo"), note);
        assert_eq!(open(&note.replace("two", "six"), [&public]), Err(NoteError::Wrong("dbd/host/1".into())));
        let other = SigningKey::generate("dbd/host/1").unwrap();
        assert!(matches!(open(&note, [&other.public()]), Err(NoteError::NotSigned(_))));
        assert!(matches!(open(&note, []), Err(NoteError::NotSigned(_))));
        for bad in ["", "text\n", "text\n\n", "text\n\nno signature\n", note.trim_end()] {
            assert!(matches!(open(bad, [&public]), Err(NoteError::Malformed(_) | NoteError::NotSigned(_))), "{bad:?}");
        }
        // A second signature by somebody else is no objection.
        let both = format!("{note}{}", other.sign("one\ntwo\n").split_once("\n\n").unwrap().1);
        assert_eq!(open(&both, [&public]).unwrap().1, &public);
    }

    #[test]
    fn a_checkpoint_reads_back_and_nothing_near_it_does() {
        let checkpoint = Checkpoint { origin: "dbd/host/1".into(), size: 412, root: [9; 32] };
        let text = checkpoint.text();
        assert_eq!(Checkpoint::parse(&text), Some(checkpoint.clone()));
        assert_eq!(Checkpoint::parse(&format!("{text}an extension\n")), Some(checkpoint));
        for bad in
            [text.replace("412", "0412"), text.replace("412", "-1"), text.replace("CQk", "CQ"), "\n1\n\n".to_owned()]
        {
            assert_eq!(Checkpoint::parse(&bad), None, "{bad}");
        }
    }
}
