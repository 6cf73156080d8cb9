//! Several servers that would do, of which some may be dead or silent.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::sleep;

/// How long a server has before another one is tried beside it.
const HEAD_START: Duration = Duration::from_secs(1);

/// The first success. Each attempt begins when the one before has failed, or has had its head start: a server that does
/// not answer holds up nobody. Else all errors, in the order in which they came. (As in "happy eyeballs", RFC 8305.)
pub(crate) async fn in_turn<T, E>(
    attempts: impl IntoIterator<Item = impl Future<Output = Result<T, E>>>,
) -> Result<T, Vec<E>> {
    let mut attempts = attempts.into_iter().peekable();
    let mut under_way = FuturesUnordered::new();
    let mut errors = Vec::new();
    loop {
        under_way.extend(attempts.next());
        tokio::select! {
            Some(done) = under_way.next() => match done {
                Ok(value) => return Ok(value),
                Err(error) => errors.push(error),
            },
            () = sleep(HEAD_START), if attempts.peek().is_some() => {}
            else => return Err(errors),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::future::BoxFuture;
    use tokio::time::Instant;

    use super::*;

    fn attempt(takes: Option<u64>, result: Result<u8, u8>) -> BoxFuture<'static, Result<u8, u8>> {
        Box::pin(async move {
            match takes {
                Some(millis) => sleep(Duration::from_millis(millis)).await,
                None => pending().await,
            }
            result
        })
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_that_answers_counts_and_a_silent_one_holds_up_nobody() {
        let began = Instant::now();
        let attempts = [attempt(None, Ok(1)), attempt(Some(10), Err(2)), attempt(Some(10), Ok(3))];
        assert_eq!(in_turn(attempts).await, Ok(3));
        assert_eq!(began.elapsed(), HEAD_START + Duration::from_millis(20));

        let began = Instant::now();
        let slow = [attempt(Some(1500), Ok(1)), attempt(None, Ok(2))];
        assert_eq!(in_turn(slow).await, Ok(1), "a slow one isn't given up");
        assert_eq!(began.elapsed(), Duration::from_millis(1500));

        let dead = [attempt(Some(0), Err(1)), attempt(Some(0), Err(2))];
        assert_eq!(in_turn(dead).await, Err(vec![1, 2]));
    }
}
