//! Times and durations for people.

use std::time::{Duration, SystemTime};

use clap::ValueEnum;
use transactional_message::Language;

/// How times are written for people. Machines get RFC 3339.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum TimeStyle {
    /// How long ago, or in how long
    #[default]
    Relative,
    /// As in RFC 3339, in UTC
    Iso,
    /// Seconds since 1970
    Unix,
}

impl TimeStyle {
    pub(super) fn write(self, time: SystemTime, language: Language) -> String {
        match self {
            Self::Iso => humantime::format_rfc3339_seconds(time).to_string(),
            Self::Unix => {
                let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                since.as_secs().to_string()
            }
            Self::Relative => match time.elapsed() {
                Ok(ago) if language == Language::Chinese => format!("{}前", seconds(ago)),
                Ok(ago) => format!("{} ago", seconds(ago)),
                Err(ahead) if language == Language::Chinese => format!("{}后", seconds(ahead.duration())),
                Err(ahead) => format!("in {}", seconds(ahead.duration())),
            },
        }
    }

    /// A text that machines get, for people: a time is written so, in columns that have times, and anything else is left.
    pub(super) fn rewrite(self, column: &str, text: &str, language: Language) -> String {
        match humantime::parse_rfc3339(text) {
            Ok(time) if column == "at" || column.ends_with("_at") => self.write(time, language),
            _ => text.to_owned(),
        }
    }
}

/// A duration by its two largest units.
pub(crate) fn seconds(duration: Duration) -> String {
    let whole = duration.as_secs();
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        3600..86_400 => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_two_units() {
        for (secs, text) in
            [(0, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (7260, "2 h 1 min"), (90_000, "1 d 1 h")]
        {
            assert_eq!(seconds(Duration::from_secs(secs)), text);
        }
    }

    #[test]
    fn times_are_written_as_wanted() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        let english = Language::English;
        assert_eq!(TimeStyle::Iso.write(time, english), "2023-11-14T22:13:20Z");
        assert_eq!(TimeStyle::Unix.write(time, english), "1700000000");
        assert!(TimeStyle::Relative.write(time, english).ends_with(" ago"));
        assert_eq!(TimeStyle::Unix.rewrite("seen_at", "2023-11-14T22:13:20.000Z", english), "1700000000");
        assert_eq!(TimeStyle::Unix.rewrite("at", "order-7", english), "order-7");
        // A business key may look like a time.
        assert_eq!(
            TimeStyle::Unix.rewrite("business_key", "2023-11-14T22:13:20Z", english),
            "2023-11-14T22:13:20Z"
        );
    }
}
