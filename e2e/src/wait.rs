//! Waiting with a limit.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::{Instant, sleep, timeout};

const PERIOD: Duration = Duration::from_millis(100);

/// Asks ten times a second until the answer is there. An error is asked again: objects come, and connections go.
///
/// # Errors
/// When there was no answer within `limit`: says `what` was waited for, and the last error.
pub async fn eventually<T>(
    what: &str,
    limit: Duration,
    mut ask: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + limit;
    let mut last = String::new();
    loop {
        match timeout(end.saturating_duration_since(Instant::now()), ask()).await {
            Ok(Ok(Some(answer))) => return Ok(answer),
            Ok(Err(error)) => last = format!("; the last error was: {error:#}"),
            // what was said before says more than that the time was up in the middle of a request
            Err(_) if last.is_empty() => "; the last request was not answered".clone_into(&mut last),
            Ok(Ok(None)) | Err(_) => {}
        }
        if Instant::now() >= end {
            bail!("waited {} s for {what}{last}", limit.as_secs_f32());
        }
        sleep(PERIOD).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_answer_ends_the_wait_and_a_limit_as_well() {
        let mut asked = 0;
        let answer = eventually("three", Duration::from_secs(5), async || {
            asked += 1;
            if asked == 1 {
                bail!("not yet");
            }
            Ok((asked == 3).then_some("three"))
        });
        assert_eq!(answer.await.unwrap(), "three");

        let limit = Duration::from_millis(50);
        let never = eventually::<()>("nothing", limit, async || bail!("gone"))
            .await
            .unwrap_err();
        assert_eq!(
            never.to_string(),
            "waited 0.05 s for nothing; the last error was: gone"
        );
        let stuck = eventually::<()>("nothing", limit, async || std::future::pending().await)
            .await
            .unwrap_err();
        assert_eq!(
            stuck.to_string(),
            "waited 0.05 s for nothing; the last request was not answered"
        );
    }
}
