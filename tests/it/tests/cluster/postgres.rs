//! PostgreSQL with streaming replication.

use it::{Dialect, PostgresSchemas};
use services::{Server, postgres};
use sqlx::{Connection, PgConnection, Postgres};
use url::Url;

use crate::pair::{self, Replicated};

impl Replicated for PostgresSchemas {
    async fn primary(synchronous: bool) -> Server {
        let settings = format!("synchronous_standby_names={}", if synchronous { "standby" } else { "" });
        postgres::start_with(&[&settings]).await.expect("a primary")
    }

    async fn standby(_: &Server, by: &Url, _: bool) -> Server {
        postgres::start_standby(by.as_str()).await.expect("a standby")
    }

    async fn promote(standby: &Server) {
        let mut standby = PgConnection::connect(standby.url()).await.expect("connects");
        Postgres::run(&mut standby, "SELECT pg_promote()").await.expect("promotes");
    }
}

#[tokio::test]
async fn a_primary_that_dies_loses_nothing_that_its_synchronous_standby_has() {
    pair::dies::<PostgresSchemas>().await;
}

#[tokio::test]
async fn a_primary_that_is_cut_off_from_its_standby_is_left() {
    pair::is_cut_off::<PostgresSchemas>().await;
}

#[tokio::test]
async fn after_an_asynchronous_standby_took_over_nothing_is_sent_for_what_was_lost() {
    pair::loses::<PostgresSchemas>().await;
}

#[tokio::test]
async fn of_a_half_that_outlives_its_payment_nothing_is_sent() {
    pair::loses_the_payment_alone::<PostgresSchemas>().await;
}
