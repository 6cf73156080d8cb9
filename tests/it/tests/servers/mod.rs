//! What every database must pass that is a server: sessions end, and transactions run side by side.

mod cut;
mod isolation;
mod rights;
mod side_by_side;
