//! Runs annotated functions in tests, without a server and without background workers.
//!
//! ```standalone_crate
//! # use serde::Serialize;
//! # use transactional_message::{begin, transactional_message};
//! use transactional_message::testing::Recorder;
//! # #[derive(Serialize)]
//! # struct Paid { order: u32 }
//! # #[derive(Debug)]
//! # struct PayError;
//! # impl From<transactional_message::Error> for PayError { fn from(_: transactional_message::Error) -> Self { Self } }
//!
//! #[transactional_message(exchange = "payments", routing_key = "paid", fence, message = Paid { order })]
//! async fn pay(db: &sqlx::SqlitePool, order: u32) -> Result<(), PayError> {
//!     let tx = begin(db).await?;
//!     tx.commit().await?;
//!     Ok(())
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let recorder = Recorder::new().await?;
//! recorder.scope(pay(recorder.pool(), 7)).await.expect("paid");
//! recorder.settle().await?;
//! recorder.assert_sent(&[("payments", "paid", serde_json::json!({ "order": 7 }))]);
//! # Ok(())
//! # }
//! ```

mod conformance;
mod gauges;
mod recorder;

pub use crate::call::calls::ReplacedGlobal;
pub use conformance::exercise;
pub use recorder::{Handled, Recorder, SentMessage, received};
