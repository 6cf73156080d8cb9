//! Statements about many rows: an outage is waited out, and a poison row fails alone.

use super::HeldStore;
use crate::store::StoreError;

/// The most halves that go in one statement.
const ROWS: usize = 256;
/// The most bytes of their payloads.
const BYTES: usize = 4 * 1024 * 1024;

/// How many of these fit in one statement, given the rows and the bytes of each: one at least, if there is one.
pub(crate) fn fit(sizes: impl IntoIterator<Item = (usize, usize)>) -> usize {
    let (mut rows, mut bytes, mut count) = (0, 0, 0);
    for (more_rows, more_bytes) in sizes {
        rows += more_rows;
        bytes += more_bytes;
        if count > 0 && (rows > ROWS || bytes > BYTES) {
            break;
        }
        count += 1;
    }
    count
}

/// Runs a statement about many rows. When it fails in a way that may be one row's fault, runs it once for each.
async fn one_by_one<'r, R, T: Clone, Fut>(
    rows: &'r [R],
    statement: impl Fn(&'r [R]) -> Fut,
) -> Vec<Result<T, StoreError>>
where
    Fut: Future<Output = Result<Vec<T>, StoreError>>,
{
    match statement(rows).await {
        Ok(done) => return done.into_iter().map(Ok).collect(),
        Err(error) if rows.len() == 1 || !error.may_be_one_rows() => return vec![Err(error); rows.len()],
        Err(_) => {}
    }
    let mut done = Vec::with_capacity(rows.len());
    for row in rows.chunks(1) {
        done.push(statement(row).await.and_then(|one| {
            one.into_iter().next().ok_or_else(|| StoreError::Unexpected("the store gave no answer".into()))
        }));
    }
    done
}

impl HeldStore {
    /// The same, and waits out outages.
    pub(super) async fn each<'r, R, T: Clone, Fut>(
        &self,
        rows: &'r [R],
        statement: impl Fn(&'r [R]) -> Fut,
    ) -> Vec<Result<T, StoreError>>
    where
        Fut: Future<Output = Result<Vec<T>, StoreError>>,
    {
        if rows.is_empty() {
            return Vec::new();
        }
        one_by_one(rows, |rows| self.until_answered(|| statement(rows))).await
    }

    /// The same, and waits for nothing.
    pub(super) async fn each_once<'r, R, T: Clone, Fut>(
        &self,
        rows: &'r [R],
        statement: impl Fn(&'r [R]) -> Fut,
    ) -> Vec<Result<T, StoreError>>
    where
        Fut: Future<Output = Result<Vec<T>, StoreError>>,
    {
        if rows.is_empty() {
            return Vec::new();
        }
        let statement = &statement;
        let logged = |rows| async move { statement(rows).await.inspect_err(|error| self.log(error)) };
        one_by_one(rows, logged).await
    }

    /// Tries until the store answers. An error that comes back may be about just this.
    async fn until_answered<T, Fut>(&self, attempt: impl Fn() -> Fut) -> Result<T, StoreError>
    where
        Fut: Future<Output = Result<T, StoreError>>,
    {
        let mut tries = 0;
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) => {
                    self.log(&error);
                    if error.may_be_one_rows() {
                        return Err(error);
                    }
                }
            }
            tokio::time::sleep(self.pause(tries)).await;
            tries = tries.saturating_add(1);
        }
    }

    /// Tries until the store has it. `None`: it refused, and will refuse again.
    pub(super) async fn until_stored<T, Fut>(&self, attempt: impl Fn() -> Fut) -> Option<T>
    where
        Fut: Future<Output = Result<T, StoreError>>,
    {
        let mut tries = 0;
        loop {
            match self.until_answered(&attempt).await {
                Ok(value) => return Some(value),
                Err(StoreError::Refused(_)) => return None,
                Err(_) => tokio::time::sleep(self.pause(tries)).await,
            }
            tries = tries.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_has_as_much_as_fits_and_one_at_least() {
        let of = |count, rows, bytes| fit(std::iter::repeat_n((rows, bytes), count));
        assert_eq!([of(0, 1, 1), of(3, 1, 1), of(1000, 1, 1)], [0, 3, ROWS]);
        assert_eq!([of(5, 1, BYTES * 2), of(5, ROWS * 2, 1), of(5, 1, BYTES / 2)], [1, 1, 2]);
    }
}
