//! What is said to somebody who uses it wrongly, or whose servers are not there.

use std::fs;

use super::run::Tm;

#[test]
fn without_a_database_it_says_how_to_name_one() {
    let ran = Tm::default().run(&["list"]).ends_with(2);
    assert!(ran.err.contains("--database-url") && ran.err.contains("TM_DATABASE_URL"), "{}", ran.err);
    assert!(ran.out.is_empty());
}

#[test]
fn what_is_wrong_in_a_command_is_said_with_its_code() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite://{}", folder.path().join("messages.db").display());
    Tm::default().with(&["--database-url", &url, "--yes"]).run(&["migrate"]).ends_with(0);
    let tm = Tm::default().with(&["--database-url", &url]);
    for (arguments, code, expected) in [
        (
            &["list", "--fence", "shop=sqlite:///nowhere.db"][..],
            1,
            "no file `/nowhere.db`: `tm migrate` would make it",
        ),
        (&["confirm", "0192"], 2, "--reason"),
        (&["list", "--state", "lost"], 2, "possible values: half, confirmed"),
        (&["list", "--since", "yesterday"], 2, "or how long ago, as in 2h"),
        (&["status", "--fail-on", "late"], 2, "lag=60s"),
        (&["list", "--fence", "postgres://ana:s3cret@db/shop"], 2, "NAME=URL"),
        (&["show", "order-7"], 2, "not an id"),
        (&["status", "--watch", "0s"], 2, "100ms at least"),
        (
            &["list", "--context", "production"],
            2,
            "there is no configuration file for the context `production`",
        ),
    ] {
        let ran = tm.run(arguments).ends_with(code);
        assert!(ran.err.contains(expected) && !ran.err.contains("s3cret"), "{arguments:?}: {}", ran.err);
    }
}

#[test]
fn a_server_that_is_not_there_is_named_without_its_password() {
    let port =
        std::net::TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("bound").port();
    for scheme in ["postgres", "mysql"] {
        let url = format!("{scheme}://ana:s3cret@127.0.0.1:{port}/shop");
        let ran = Tm::default().with(&["--database-url", &url]).run(&["status"]).ends_with(1);
        assert!(ran.err.contains("could not be opened") && !ran.err.contains("s3cret"), "{}", ran.err);
    }
}

#[test]
fn contexts_are_read_from_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let (file, database) = (folder.path().join("tm.toml"), folder.path().join("messages.db"));
    let url = format!("sqlite://{}", database.display());
    fs::write(&file, format!("default_context = 'test'\n[context.test]\ndatabase_url = '{url}'\n[context.live]\ndatabase_url = '{url}'\nproduction = true\n"))
        .expect("writes");
    let tm = Tm::default().with(&["--config", file.to_str().expect("a path")]);
    tm.run(&["migrate", "--check"]).ends_with(6);
    assert!(!database.exists(), "a check makes no file");
    let ran = tm.run(&["migrate"]).ends_with(2);
    assert!(ran.err.contains("say --yes if it is meant") && ran.err.contains("messages.db"), "{}", ran.err);
    assert!(!database.exists(), "nor does what was not agreed to");
    tm.run(&["migrate", "--yes"]).ends_with(0);
    tm.run(&["migrate", "--check"]).ends_with(0);
    assert!(tm.run(&["status"]).ends_with(0).out.contains("Nothing waits for a person"));
    let ran = tm.run(&["list", "--context", "other"]).ends_with(2);
    assert!(ran.err.contains("has no context `other`; it has: live, test"), "{}", ran.err);

    // In production, a change must be meant.
    let ran = tm.run(&["migrate", "--context", "live"]).ends_with(2);
    assert!(ran.err.contains("Type the name of the context, `live`"), "{}", ran.err);
    let ran = tm.run(&["migrate", "--context", "live", "--no-input"]).ends_with(2);
    assert!(ran.err.contains("give --yes and --context live"), "{}", ran.err);
    tm.run(&["migrate", "--context", "live", "--yes"]).ends_with(0);
    tm.run(&["status", "--context", "live"]).ends_with(0);

    // A broker in the environment is another store's.
    let ran = tm.clone().env("TM_AMQP_URL", "amqp://127.0.0.1:1").run(&["dead", "list"]).ends_with(2);
    assert!(ran.err.contains("the context of tm.toml its amqp_url"), "{}", ran.err);

    // The environment comes before what only the file names, and a line of the file is not shown.
    let elsewhere = Tm::default()
        .with(&["--config", file.to_str().expect("a path")])
        .env("DATABASE_URL", "sqlite:///else.db");
    assert!(elsewhere.run(&["list"]).ends_with(1).err.contains("no file `/else.db`"));
    let production =
        tm.clone().env("TM_CONTEXT", "live").run(&["migrate", "--yes", "--no-input"]).ends_with(2);
    assert!(
        production.err.contains("Type the name"),
        "named by the environment is not enough: {}",
        production.err
    );
    fs::write(&file, "\n[context.test]\ndatabase = 'postgres://ana:s3cret@db/shop'\n").expect("writes");
    let ran = tm.run(&["list"]).ends_with(2);
    assert!(
        ran.err.contains("line 3: unknown field `database`") && !ran.err.contains("s3cret"),
        "{}",
        ran.err
    );
}

#[test]
fn completions_and_the_manual_are_written() {
    for shell in ["bash", "zsh", "fish"] {
        let ran = Tm::default().run(&["completions", shell]).ends_with(0);
        assert!(ran.out.contains("processes") && ran.out.contains("database-url"), "{shell}");
    }
    let ran = Tm::default().run(&["man"]).ends_with(0);
    assert!(ran.out.contains("tm confirm") && ran.out.contains("Exit codes"), "{}", ran.out);
}
