//! The alerts of `monitoring/rules.yml`, and the commands that they name.

use std::path::Path;

use crate::run::{Ran, Tm};

/// Of these, a person takes one.
const DECISIONS: [&str; 3] = ["confirm", "cancel", "retry"];

#[derive(Debug)]
pub(crate) struct Alert {
    pub(crate) name: String,
    /// Each with its words; `ID`, `TEXT`, `QUEUE` and `NAME` are for whoever runs it.
    pub(crate) commands: Vec<Vec<String>>,
}

pub(crate) fn alerts() -> Vec<Alert> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../monitoring/rules.yml");
    let rules = std::fs::read_to_string(path).expect("the rules");
    let alert = |lines: &str| {
        let (name, rest) = lines.split_once('\n').expect("more than a name");
        let description = rest.split("description: \"").nth(1).and_then(|rest| rest.split("\"\n").next());
        Alert { name: name.to_owned(), commands: commands(description.expect("a description")) }
    };
    rules.split("      - alert: ").skip(1).map(alert).collect()
}

fn commands(description: &str) -> Vec<Vec<String>> {
    let quoted = description.split('`').skip(1).step_by(2);
    let of_tm = quoted.filter_map(|text| text.strip_prefix("tm "));
    of_tm.map(|command| command.split(' ').map(str::to_owned).collect()).collect()
}

impl Alert {
    /// Runs one of its commands, by its first word; one without `ID` needs none.
    #[track_caller]
    pub(crate) fn run(&self, tm: &Tm, verb: &str, id: &str) -> Ran {
        let command = self.commands.iter().find(|command| command[0] == verb);
        let command = command.unwrap_or_else(|| panic!("{} names no `tm {verb}`", self.name));
        let words = command.iter().map(|word| match word.as_str() {
            "ID" => id,
            "TEXT" => "as the alert says",
            word => word,
        });
        tm.run(&words.collect::<Vec<_>>())
    }

    /// To the message: what a command finds, in words, and the id that stands there.
    #[track_caller]
    pub(crate) fn find(&self, tm: &Tm, verb: &str) -> (String, String) {
        let out = self.run(tm, verb, "").ends_with(0).out;
        let is_id = |word: &&str| word.len() == 36 && word.matches('-').count() == 4;
        let id = out.split_whitespace().find(is_id);
        (id.unwrap_or_else(|| panic!("{}: no message in {out}", self.name)).to_owned(), out)
    }

    /// Two commands lead from the alert to the end, and `tm` knows them: on a store without messages, none is used wrongly.
    #[track_caller]
    pub(crate) fn is_short(&self, empty: &Tm) {
        let decides = |command: &&Vec<String>| DECISIONS.contains(&command[0].as_str());
        let (decisions, looks): (Vec<_>, Vec<_>) = self.commands.iter().partition(decides);
        let steps = looks.len() + usize::from(!decisions.is_empty());
        assert!(steps <= 2, "{}: {:?}", self.name, self.commands);
        for command in &self.commands {
            let words = command.iter().map(|word| match word.as_str() {
                "ID" => "0199a1b2-0000-7000-8000-000000000000",
                "TEXT" => "as the alert says",
                "QUEUE" | "NAME" => "books",
                word => word,
            });
            let ran = empty.run(&words.collect::<Vec<_>>());
            assert_ne!(ran.code, 2, "{}: {command:?}: {}", self.name, ran.err);
        }
    }
}
