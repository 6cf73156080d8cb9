//! Processes of this program that are services with our messenger: to be killed, or to be several.
//!
//! A child answers each line on its standard input with one on its standard output, and ends when its
//! input does: with its parent, whichever way that ends.

use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use sqlx::Postgres;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, stdin};
use tokio::process::{ChildStdin, ChildStdout, Command};
use transactional_message::{ExchangeKind, RabbitMq, fault};

use crate::contestants::Contestant;
use crate::contestants::ours::{Fence, Handler, Ours};
use crate::measure;
use crate::shop::Payment;
use crate::world::{Place, postgres_pool};

/// Makes a process a child, and says which.
const VARIABLE: &str = "TM_BENCH_CHILD";
/// To finish what is under way, when the parent has nothing more to ask.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a child is told when it is started.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Role {
    pub(crate) postgres_url: String,
    pub(crate) amqp_url: String,
    /// Where it dies, as in `die@committed:1`.
    pub(crate) fault: Option<String>,
}

/// What a child is asked to do. Its answer is one line of JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Task {
    /// One fenced call.
    Call,
    /// Calls with a handler, as fast as they go. The answer is how many.
    Load { callers: usize, seconds: f64 },
}

/// What this process is, if it is a child.
pub(crate) fn role() -> Option<anyhow::Result<Role>> {
    let role = std::env::var(VARIABLE).ok()?;
    Some(serde_json::from_str(&role).context("the role can't be read"))
}

/// Does what the parent asks, until it asks no more.
pub(crate) async fn run(role: Role) -> anyhow::Result<()> {
    let place: Place<Postgres> =
        Place { pool: postgres_pool(&role.postgres_url).await?, url: role.postgres_url };
    let rabbitmq = RabbitMq::new(role.amqp_url).exchange(crate::EXCHANGE, ExchangeKind::Topic);
    let ours = Ours::open(place, |builder| builder.rabbitmq(rabbitmq)).await?;
    if let Some(fault) = role.fault {
        fault::arm([fault.parse().map_err(anyhow::Error::msg)?]);
    }
    answer(&"ready")?;
    let mut asked = BufReader::new(stdin()).lines();
    while let Some(task) = next(&mut asked).await? {
        match task {
            Task::Call => answer(&Fence(ours.clone()).call(Payment::new()).await.is_ok())?,
            Task::Load { callers, seconds } => {
                let contestant: Arc<dyn Contestant> = Arc::new(Handler(ours.clone()));
                let end = Instant::now() + Duration::from_secs_f64(seconds);
                answer(&measure::call_until(&contestant, callers, end).await?.len())?;
            }
        }
    }
    ours.messenger.shutdown(PATIENCE).await;
    Ok(())
}

async fn next(lines: &mut Lines<impl AsyncBufRead + Unpin>) -> anyhow::Result<Option<Task>> {
    Ok(lines.next_line().await?.map(|line| serde_json::from_str(&line)).transpose()?)
}

fn answer(answer: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(answer)?);
    Ok(())
}

/// A child, as its parent has it. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Child {
    process: tokio::process::Child,
    tasks: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Child {
    /// Starts one, and waits until its messenger runs.
    pub(crate) async fn start(role: &Role) -> anyhow::Result<Self> {
        let mut process = Command::new(std::env::current_exe()?)
            .env(VARIABLE, serde_json::to_string(role)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("starting a child")?;
        let tasks = process.stdin.take().context("a child without input")?;
        let answers = BufReader::new(process.stdout.take().context("a child without output")?).lines();
        let mut child = Self { process, tasks, answers };
        let ready: String = child.answer().await?;
        anyhow::ensure!(ready == "ready", "a child said `{ready}`");
        Ok(child)
    }

    pub(crate) fn id(&self) -> Option<u32> {
        self.process.id()
    }

    pub(crate) async fn ask(&mut self, task: &Task) -> anyhow::Result<()> {
        let line = format!("{}\n", serde_json::to_string(task)?);
        Ok(self.tasks.write_all(line.as_bytes()).await?)
    }

    pub(crate) async fn answer<T: for<'de> Deserialize<'de>>(&mut self) -> anyhow::Result<T> {
        let line = self.answers.next_line().await?.context("a child ended without an answer")?;
        Ok(serde_json::from_str(&line)?)
    }

    /// Waits for its end, and says when that was.
    pub(crate) async fn dies(&mut self) -> anyhow::Result<Instant> {
        let status = tokio::time::timeout(Duration::from_secs(30), self.process.wait()).await;
        let status = status.context("a child that was to die lives on")??;
        anyhow::ensure!(status.code().is_none(), "a child that was to be killed ended by itself: {status}");
        Ok(Instant::now())
    }

    /// Lets it finish.
    pub(crate) async fn end(self) -> anyhow::Result<()> {
        let Self { mut process, tasks, answers } = self;
        drop(tasks);
        process.wait().await?;
        drop(answers);
        Ok(())
    }
}
