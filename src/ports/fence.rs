//! The proof that nothing of an effect can take effect any more.

use crate::domain::ids::EffectId;

/// Proof that whatever an earlier process had started for an effect is over. A probe asks for it, so a probe before the fence cannot be
/// written: PostgreSQL goes on with a batch after its client was killed, and may commit seconds later.
///
/// Outside this crate nothing can make one, and within it only what fences (`tests/tidy.rs` keeps the list). So this does not compile:
///
/// ```compile_fail,E0061
/// # async fn unfenced(database: &dyn dbd::ports::database::Database, order: dbd::ports::database::ProbeOrder<'_>) {
/// database.probe(order).await.unwrap();
/// # }
/// ```
///
/// nor this:
///
/// ```compile_fail,E0624
/// # fn forged(effect: dbd::domain::ids::EffectId) -> dbd::ports::fence::Fenced {
/// dbd::ports::fence::Fenced::after(effect, "trust me")
/// # }
/// ```
///
/// nor this:
///
/// ```compile_fail,E0451
/// # fn built(effect: dbd::domain::ids::EffectId) -> dbd::ports::fence::Fenced {
/// dbd::ports::fence::Fenced { effect, evidence: String::new() }
/// # }
/// ```
#[derive(Debug)]
pub struct Fenced {
    effect: EffectId,
    evidence: String,
}

impl Fenced {
    /// To be made only by what has just ended the effect's sessions and processes and seen them gone.
    #[must_use]
    pub(crate) fn after(effect: EffectId, evidence: impl Into<String>) -> Self {
        Self { effect, evidence: evidence.into() }
    }

    /// The effect it is about.
    #[must_use]
    pub fn effect(&self) -> &EffectId {
        &self.effect
    }

    /// How it is known.
    #[must_use]
    pub fn evidence(&self) -> &str {
        &self.evidence
    }
}
