//! How events hang together: pure functions from bytes to hashes.
//!
//! Everything is BLAKE3 in its key-derivation mode, so that a hash made for one purpose is worthless for another. Integers are
//! little-endian and eight bytes long. Nothing is parsed or re-serialised: what is hashed is what is stored.
//!
//! ```text
//! genesis = derive_key("dbd journal genesis v1",  len(origin) ‖ origin ‖ created_ms ‖ nonce)
//!                                                 u64           UTF-8    i64          32 bytes
//! hash    = derive_key("dbd journal event v1",    prev ‖ len(rec) ‖ rec)
//!                                                 32     u64        UTF-8
//! ```
//!
//! `prev` is the hash of the event before, or the genesis for the first one.

use blake3::hazmat::{ContextKey, HasherExt, hash_derive_key_context};
use std::sync::LazyLock;

/// A hash in the chain.
pub type Hash = [u8; 32];

/// The BLAKE3 context of an event's hash.
pub const EVENT_CONTEXT: &str = "dbd journal event v1";

/// The BLAKE3 context of a genesis.
pub const GENESIS_CONTEXT: &str = "dbd journal genesis v1";

/// What [`EVENT_CONTEXT`] comes to; derived once, as it costs as much as 64 bytes of an event.
static EVENT_KEY: LazyLock<ContextKey> = LazyLock::new(|| hash_derive_key_context(EVENT_CONTEXT));

/// The hash before the first event of the journal `origin`, made at `created_ms` (unix milliseconds) with 32 random bytes.
#[must_use]
pub fn genesis(origin: &str, created_ms: i64, nonce: &[u8; 32]) -> Hash {
    let mut hasher = blake3::Hasher::new_derive_key(GENESIS_CONTEXT);
    hasher.update(&len(origin.as_bytes())).update(origin.as_bytes());
    hasher.update(&created_ms.to_le_bytes()).update(nonce);
    hasher.finalize().into()
}

/// The hash of the event stored as `rec`, following the event whose hash is `prev`.
#[must_use]
pub fn link(prev: &Hash, rec: &[u8]) -> Hash {
    let mut hasher = blake3::Hasher::new_from_context_key(&EVENT_KEY);
    hasher.update(prev).update(&len(rec)).update(rec);
    hasher.finalize().into()
}

/// A hash as people and files see it: `b3:` and 64 lower-case hexadecimal digits.
#[must_use]
pub fn printed(hash: &Hash) -> String {
    format!("b3:{}", blake3::Hash::from(*hash).to_hex())
}

/// Reads a printed hash; `None` unless it is exactly what [`printed`] gives.
#[must_use]
pub fn parse(text: &str) -> Option<Hash> {
    let hash: Hash = blake3::Hash::from_hex(text.strip_prefix("b3:")?).ok()?.into();
    (printed(&hash) == text).then_some(hash)
}

fn len(bytes: &[u8]) -> [u8; 8] {
    (bytes.len() as u64).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_the_documented_one() {
        let mut bytes = vec![7; 32];
        bytes.extend_from_slice(&3_u64.to_le_bytes());
        bytes.extend_from_slice(b"abc");
        assert_eq!(link(&[7; 32], b"abc"), blake3::derive_key(EVENT_CONTEXT, &bytes));

        let mut bytes = 2_u64.to_le_bytes().to_vec();
        bytes.extend_from_slice(b"me");
        bytes.extend_from_slice(&(-5_i64).to_le_bytes());
        bytes.extend_from_slice(&[9; 32]);
        assert_eq!(genesis("me", -5, &[9; 32]), blake3::derive_key(GENESIS_CONTEXT, &bytes));
    }

    #[test]
    fn the_hashes_of_today_are_the_hashes_of_the_first_release() {
        let start = genesis("dbd/example/0001", 1_728_149_445_123, &[0; 32]);
        assert_eq!(printed(&start), "b3:cac6afd4c2dd456cd8b47d576539ca7e6e49e7c2daed979a78ef8696d1e7257b");
        assert_eq!(
            printed(&link(&start, b"{}")),
            "b3:4e83b605d955aadd6ad983a2ea66c9cad825c8bff19edf6f06cd77565bd47ee1"
        );
    }

    #[test]
    fn a_printed_hash_reads_back_and_nothing_else_does() {
        let hash = link(&[0; 32], b"x");
        assert_eq!(parse(&printed(&hash)), Some(hash));
        for bad in
            ["", "b3:", "b3:00", &printed(&hash)[3..], &printed(&hash).to_uppercase(), &format!("{}0", printed(&hash))]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
