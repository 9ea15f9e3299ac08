//! Asking an application whether it is healthy.

use crate::domain::event::HealthCheck;
use crate::domain::failure::Failure;
use crate::domain::secret::Secret;
use async_trait::async_trait;

/// Asks an address.
#[async_trait(?Send)]
pub trait Health {
    /// Returns once an answer was healthy. `url` may hold a password and is not repeated.
    ///
    /// # Errors
    /// [`HealthFailed`](crate::domain::code::Code::HealthFailed) with the last answer, when no question was answered that way.
    async fn check(&self, url: &Secret, check: &HealthCheck) -> Result<(), Failure>;
}
