//! Asking an application over HTTP whether it is healthy.

use crate::domain::code::Code;
use crate::domain::event::HealthCheck;
use crate::domain::failure::Failure;
use crate::domain::secret::Secret;
use crate::ports::health::Health;
use async_trait::async_trait;
use std::time::Duration;

/// How long to wait between two questions.
const BETWEEN: Duration = Duration::from_secs(2);

/// HTTP.
#[derive(Clone, Copy, Debug, Default)]
pub struct HttpHealth;

#[async_trait(?Send)]
impl Health for HttpHealth {
    async fn check(&self, url: &Secret, check: &HealthCheck) -> Result<(), Failure> {
        let failed = |why: String| {
            Failure::new(Code::HealthFailed, "the application is not healthy")
                .cause(why)
                .hint("look at the application's own log; the target is taken back meanwhile")
        };
        let client = reqwest::Client::builder()
            .timeout(Duration::from_millis(check.timeout_ms))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("dbd/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| failed(error.without_url().to_string()))?;
        let mut last = String::new();
        for attempt in 0..check.attempts.max(1) {
            if attempt > 0 {
                tokio::time::sleep(BETWEEN).await;
            }
            // The address may hold a password or a token: it is left out of what is said.
            match client.get(url.expose()).send().await {
                Ok(answer) if answer.status().is_success() || answer.status().is_redirection() => return Ok(()),
                Ok(answer) => last = format!("it answered {}", answer.status()),
                Err(error) => {
                    let mut next: Option<&dyn std::error::Error> = Some(&error);
                    let mut deepest = String::new();
                    while let Some(inner) = next {
                        deepest = inner.to_string();
                        next = inner.source();
                    }
                    last =
                        if error.is_timeout() { format!("no answer within {} ms", check.timeout_ms) } else { deepest };
                }
            }
        }
        Err(failed(last))
    }
}
