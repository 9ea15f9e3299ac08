//! What a database looks like, as a value: the catalog, how two of them differ, and what a difference does to the
//! application that is running now.
//!
//! ```text
//! catalog      what is there           Catalog { "column:public.orders.id" -> attributes }
//! diff         what differs            (before, after) -> [Change]
//! compat       what that breaks        [Change] -> [Judged]
//! fingerprint  one digest for it all   Catalog -> b3:...
//! spelling     one text for one thing  Catalog -> Catalog
//! script       how to get there      (from, to) -> Script
//! data         what both hold           DataComparison
//! comparison   the report of two sides (source, target) -> Comparison
//! ```
//!
//! Absent on purpose: reading SQL text. Both sides are read from running databases, where PostgreSQL has already parsed, resolved and
//! deparsed everything; two spellings of one thing are then the same value; `spelling` has the one
//! exception.

pub mod catalog;
pub mod comparison;
pub mod compat;
pub mod data;
pub mod diff;
pub mod fingerprint;
pub mod script;
pub mod spelling;
mod types;

pub use catalog::{Catalog, Kind, Object, ObjectKey};
pub use comparison::{Comparison, Recommendation, Summary};
pub use compat::{Breaking, Judged, Verdict, judge};
pub use diff::{Change, ChangeKind, diff};
pub use fingerprint::fingerprint;
pub use script::{Script, script};
