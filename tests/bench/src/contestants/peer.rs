//! What the peers have in common: their sqlx, and tables that they ship with their crates.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use peer_sqlx::PgPool;
use peer_sqlx::migrate::Migrator;
use peer_sqlx::postgres::PgPoolOptions;
use serde::Deserialize;
use sqlx::Postgres;

use crate::shop::Payment;
use crate::world::{CONNECTIONS, Open, World};

/// A database with the business's tables and those of this crate, and a pool of the peers' sqlx.
pub(super) async fn pool(world: &World, name: &str, package: &str) -> anyhow::Result<PgPool> {
    let place = Postgres::open(world, name).await?;
    place.pool.close().await;
    let pool = PgPoolOptions::new().max_connections(CONNECTIONS).connect(&place.url).await?;
    let folder = sources(package)?.join("migrations");
    let migrator = Migrator::new(folder.as_path()).await.with_context(|| {
        format!(
            "the tables of `{package}` are to be in {}, and are not. If cargo's copy of the crate is damaged, \
             remove it and run `cargo fetch`; if this version ships no migrations any more, \
             `tests/bench/src/contestants/peer.rs` has to find its tables elsewhere",
            folder.display()
        )
    })?;
    anyhow::ensure!(migrator.iter().next().is_some(), "{} has no migrations", folder.display());
    migrator.run(&pool).await.with_context(|| format!("creating the tables of `{package}`"))?;
    Ok(pool)
}

/// The business's statement, with the peers' sqlx.
pub(super) async fn pay(on: &mut peer_sqlx::PgConnection, payment: &Payment) -> Result<(), peer_sqlx::Error> {
    let sql = "INSERT INTO payment (payment_id, account, amount_cents) VALUES ($1, $2, $3)";
    let query = peer_sqlx::query(sql).bind(payment.payment_id).bind(&payment.account);
    query.bind(payment.amount_cents).execute(on).await?;
    Ok(())
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: String,
    manifest_path: PathBuf,
}

/// Where cargo has put the sources of a crate. The tables are read from there, because they are its
/// authors': a copy here would be theirs, too, and would grow old.
fn sources(package: &str) -> anyhow::Result<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let output = Command::new("cargo")
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(&manifest)
        .output()
        .context("running `cargo metadata`, which knows where crates are: is cargo in the PATH?")?;
    let errors = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "`cargo metadata` of {} failed:\n{errors}", manifest.display());
    let metadata: Metadata =
        serde_json::from_slice(&output.stdout).context("reading what `cargo metadata` says")?;
    let found = metadata.packages.into_iter().find(|found| found.name == package);
    let found = found
        .with_context(|| format!("`{package}` is not a dependency of {} any more", manifest.display()))?;
    let folder = found.manifest_path.parent().context("a manifest in no directory")?;
    Ok(folder.to_owned())
}
