//! BLAKE3 digests, written `b3:<hex>` everywhere a person or a file sees them.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A BLAKE3 digest in its printed form, `b3:` and 64 hexadecimal digits.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest(String);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: impl AsRef<[u8]>) -> Self {
        Self::from_hash(blake3::hash(bytes.as_ref()))
    }

    /// The digest of `bytes` for one purpose: the same bytes under another `context` give another digest.
    #[must_use]
    pub fn keyed(context: &str, bytes: impl AsRef<[u8]>) -> Self {
        Self(format!("b3:{}", blake3::Hash::from(blake3::derive_key(context, bytes.as_ref())).to_hex()))
    }

    /// Prints a finished BLAKE3 hash.
    #[must_use]
    pub fn from_hash(hash: blake3::Hash) -> Self {
        Self(format!("b3:{}", hash.to_hex()))
    }

    /// Reads a printed digest; `None` if it is not `b3:` and 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.strip_prefix("b3:")?;
        blake3::Hash::from_hex(hex).ok().map(Self::from_hash)
    }

    /// The printed form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `b3:` and the first twelve digits, for people.
    #[must_use]
    pub fn short(&self) -> &str {
        &self.0[..15.min(self.0.len())]
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
