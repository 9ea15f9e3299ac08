//! Catalogs as they are kept in the journal: so that what changed since can be named, not only noticed.

use crate::domain::code::Code;
use crate::domain::failure::Failure;
use crate::domain::schema::Catalog;

/// zstd's own default: catalogs are texts that repeat themselves, and are written once a run.
const LEVEL: i32 = 3;

/// The catalog as a blob: JSON, compressed by zstd.
///
/// # Errors
/// [`Code::Bug`], should a catalog not be written.
pub fn pack(catalog: &Catalog) -> Result<Vec<u8>, Failure> {
    let failed = |error: &dyn std::fmt::Display| Failure::new(Code::Bug, "the catalog cannot be kept").cause(error);
    let json = serde_json::to_vec(catalog).map_err(|error| failed(&error))?;
    zstd::encode_all(json.as_slice(), LEVEL).map_err(|error| failed(&error))
}

/// The catalog of a blob.
///
/// # Errors
/// [`Code::JournalBroken`] if it is not one.
pub fn unpack(blob: &[u8]) -> Result<Catalog, Failure> {
    let failed =
        |error: &dyn std::fmt::Display| Failure::new(Code::JournalBroken, "a kept catalog is damaged").cause(error);
    let json = zstd::decode_all(blob).map_err(|error| failed(&error))?;
    serde_json::from_slice(&json).map_err(|error| failed(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::schema::{Object, ObjectKey};

    #[test]
    fn what_was_kept_comes_back_and_what_was_not_is_refused() {
        let key = ObjectKey::parse("table:public.orders").unwrap();
        let catalog: Catalog = [(key, Object { position: 3, ..Object::default() })].into_iter().collect();
        let blob = pack(&catalog).unwrap();
        assert_eq!(unpack(&blob).unwrap(), catalog);
        assert_eq!(unpack(&blob[1..]).unwrap_err().code, Code::JournalBroken);
        assert_eq!(unpack(b"").unwrap_err().code, Code::JournalBroken);
    }
}
