//! The words for an explanation, in one table: what a console, a command line and a log say is the same.

use std::fmt;
use std::time::SystemTime;

use super::values::{Cause, Choice, Explanation, Next, When};
use crate::message::state::MessageState;

/// A language in which explanations can be said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Language {
    /// English.
    #[default]
    English,
    /// Chinese, in simplified characters.
    Chinese,
}

/// An explanation in words: whole sentences. `Display` gives them one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Said {
    /// Where it stands.
    pub state: String,
    /// Why.
    pub because: String,
    /// What happens next, and when.
    pub next: String,
    /// What a person can do, the best first.
    pub choices: Vec<String>,
    between: &'static str,
}

impl fmt::Display for Said {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}{}{}", self.state, self.between, self.because, self.between, self.next)?;
        self.choices.iter().try_for_each(|choice| write!(f, "{}{choice}", self.between))
    }
}

impl Explanation {
    /// Says it in words. `time` writes a time as readers want it: relative to now, or in their zone.
    pub fn say(&self, language: Language, time: impl Fn(SystemTime) -> String) -> Said {
        let of = |words: Words| words.in_language(language);
        let numbered = |words: Words, number: u32| of(words).replace("{n}", &number.to_string());
        let because = match count(self.because) {
            Some(number) => numbered(cause(self.because), number),
            None => of(cause(self.because)).to_owned(),
        };
        let next = of(next(self.next));
        let next = match self.when {
            When::Open => next.replace("{when}", ""),
            When::Now => next.replace("{when}", of(NOW)),
            When::At(at) => next.replace("{when}", &of(AT).replace("{time}", &time(at))),
            When::Until(until) => next.replace("{when}", &of(UNTIL).replace("{time}", &time(until))),
        };
        Said {
            state: of(state(self.state)).to_owned(),
            because,
            next,
            choices: self.choices.iter().map(|one| of(choice(*one)).to_owned()).collect(),
            between: of(BETWEEN),
        }
    }
}

/// The same in each language, in the order of [`Language`].
#[derive(Clone, Copy)]
struct Words(&'static str, &'static str);

impl Words {
    const fn in_language(self, language: Language) -> &'static str {
        match language {
            Language::English => self.0,
            Language::Chinese => self.1,
        }
    }
}

const BETWEEN: Words = Words(" ", "");
const NOW: Words = Words(" now", "现在");
const AT: Words = Words(" ({time})", "（{time}）");
const UNTIL: Words = Words(
    "; if that process has vanished, another one takes over ({time})",
    "；若该进程已消失，则由其他进程接管（{time}）",
);

const fn state(state: MessageState) -> Words {
    match state {
        MessageState::Half => Words(
            "It is stored, and not deliverable: its outcome is undecided.",
            "已存储，不可投递：结果未定。",
        ),
        MessageState::Confirmed => Words("It is confirmed, and not delivered yet.", "已确认，尚未投递。"),
        MessageState::Cancelled => Words("It is cancelled, and never delivered.", "已取消，永不投递。"),
        MessageState::Delivered => Words("It is delivered.", "已投递。"),
        MessageState::Parked => {
            Words("It is parked: a half message that waits for a person.", "已搁置：半消息等待人工处理。")
        }
        MessageState::Dead => Words(
            "It is dead: a confirmed message that waits for a person.",
            "已成死信：已确认的消息等待人工处理。",
        ),
        MessageState::Expired => Words("It expired, and is not delivered any more.", "已过期，不再投递。"),
    }
}

const fn count(cause: Cause) -> Option<u32> {
    match cause {
        Cause::AskedInVain { questions } | Cause::NoAnswer { questions } => Some(questions),
        Cause::DeliveryFailed { attempts }
        | Cause::AttemptsUsedUp { attempts }
        | Cause::GivenUp { attempts } => Some(attempts),
        _ => None,
    }
}

#[expect(clippy::too_many_lines, reason = "it is a table")]
const fn cause(cause: Cause) -> Words {
    match cause {
        Cause::Running => Words(
            "A process holds it: its function is running, or the report of how it ended is on its way.",
            "某进程持有它：函数正在运行，或其结果正在上报。",
        ),
        Cause::ProcessVanished => Words(
            "Its process has not renewed its lease, and has probably vanished before it reported how the function ended.",
            "其进程没有续租，可能在上报结果之前已消失。",
        ),
        Cause::BeingAsked => {
            Words("A check-back is asking whether its function took effect.", "正在回查其函数是否生效。")
        }
        Cause::AskerVanished => Words(
            "The process that asked about it has vanished, perhaps over the question.",
            "上次回查它的进程已消失，可能正因该次回查。",
        ),
        Cause::AskedInVain { .. } => Words(
            "A check-back got no clear answer. Questions that count so far: {n}.",
            "回查没有得到明确答复。已计次数：{n}。",
        ),
        Cause::Unreported => Words("Nobody has reported how its function ended.", "尚无人上报其函数的结果。"),
        Cause::NobodyAnswers => Words(
            "No running process that has announced itself has the fence or the handler that could answer for it. (Processes of older versions don't announce themselves.)",
            "在已登记的运行中进程里，没有一个拥有能答复它的围栏或处理函数。（旧版本的进程不会登记。）",
        ),
        Cause::Publishing => Words(
            "A process is publishing it, or has it in memory to be published.",
            "某进程正在发布它，或已在内存中等待发布。",
        ),
        Cause::PublisherVanished => Words(
            "The process that was to publish it has not renewed its lease, and has probably vanished.",
            "应发布它的进程没有续租，可能已消失。",
        ),
        Cause::Delayed => Words("It was sent with a delay that is not over.", "发送时设置的延迟尚未结束。"),
        Cause::DeliveryFailed { .. } => Words(
            "It could not be delivered, and pauses. Attempts that count so far: {n}.",
            "投递失败，暂停中。已计次数：{n}。",
        ),
        Cause::NotPublished => Words(
            "It was not published, by no fault of its own: the broker, or who takes it, was not there.",
            "未能发布，但并非消息本身的问题：代理或接收方当时不在。",
        ),
        Cause::WaitsForRelay => Words(
            "It is due, and no process of its service has taken it up yet.",
            "已到期，但其服务的进程尚未接手。",
        ),
        Cause::NobodyDelivers => Words(
            "No running process that has announced itself delivers for its service. (Processes of older versions don't announce themselves.)",
            "在已登记的运行中进程里，没有一个为其服务投递消息。（旧版本的进程不会登记。）",
        ),
        Cause::Paused => Words("A person has paused it.", "已由人工暂停。"),
        Cause::NoAnswer { .. } => Words(
            "Its check-back handler gave no clear answer, although it was asked as often as allowed: {n}.",
            "其回查处理函数没有给出明确答复，已达允许的次数：{n}。",
        ),
        Cause::TooOld => Words(
            "Nobody answered for it within the setting `check_back_horizon`, or it can't be read.",
            "在设置 `check_back_horizon` 的期限内无人答复，或该消息无法读取。",
        ),
        Cause::ForgotBegin => Words(
            "Its function never began a fenced transaction, so no database can tell whether it took effect.",
            "其函数从未开始围栏事务，因此没有数据库能说明它是否生效。",
        ),
        Cause::Unreadable => {
            Words("Its row can't be read: see its reason.", "其记录无法读取：见其原因说明。")
        }
        Cause::AttemptsUsedUp { .. } => Words(
            "It could not be delivered, although it was tried as often as allowed: {n}.",
            "无法投递，已达允许的尝试次数：{n}。",
        ),
        Cause::Refused => Words(
            "It was refused in a way that does not pass, or can't be read.",
            "被永久拒绝，或该消息无法读取。",
        ),
        Cause::GivenUp { .. } => Words(
            "It could not be delivered, and was given up. Attempts: {n}.",
            "无法投递，已放弃。尝试次数：{n}。",
        ),
        Cause::NoEffect => Words(
            "Its business action took no effect, or said that there is nothing to send.",
            "其业务操作没有生效，或表示没有需要发送的内容。",
        ),
        Cause::Acknowledged => Words(
            "The broker, or the consumer in the process, has taken it.",
            "代理或进程内的消费者已接收它。",
        ),
        Cause::Late => {
            Words("Its time was over before it could be delivered.", "在能够投递之前已超过其时限。")
        }
    }
}

const fn next(next: Next) -> Words {
    match next {
        Next::Report => Words(
            "Its process reports the end at any moment, which confirms or cancels it{when}.",
            "其进程随时会上报结果，从而确认或取消它{when}。",
        ),
        Next::AskFence => Words("A check-back asks its fence{when}.", "{when}将回查其围栏。"),
        Next::AskHandler => Words("A check-back asks its handler{when}.", "{when}将回查其处理函数。"),
        Next::AskHandlerAlone => Words(
            "A check-back asks its handler{when}, while nothing else runs in that process.",
            "{when}将单独回查其处理函数，期间该进程不做其他事。",
        ),
        Next::WaitFirst => Words(
            "A check-back asks its handler{when}, since what the function sent may still be in flight.",
            "{when}将回查其处理函数，因为函数发出的请求可能仍在途中。",
        ),
        Next::Answer => Words(
            "The answer confirms or cancels it, or it is asked about again{when}.",
            "答复将确认或取消它，否则会再次回查{when}。",
        ),
        Next::Park => Words("It is parked{when}, for a person to decide.", "{when}将被搁置，等待人工决定。"),
        Next::Publish => Words("A process of its service publishes it{when}.", "{when}由其服务的进程发布。"),
        Next::Acknowledge => Words(
            "It is delivered once the broker acknowledges it, or it is published again later{when}.",
            "代理确认后即为已投递，否则稍后重新发布{when}。",
        ),
        Next::Expire => Words("It expires{when}.", "{when}将过期。"),
        Next::Wait => Words(
            "Nothing happens until a process runs that can take it up{when}.",
            "在能够接手它的进程运行之前，不会发生任何事{when}。",
        ),
        Next::Decide => Words(
            "Nothing happens until a person decides{when}; only the late report of its own process could still settle it.",
            "在人工决定之前不会发生任何事{when}；只有其进程迟到的上报仍可能改变它。",
        ),
        Next::Delete => Words(
            "Nothing more happens; it may be deleted{when}, with the other messages of its call.",
            "不会再发生任何事；{when}可与同一调用的其他消息一起删除。",
        ),
    }
}

const fn choice(choice: Choice) -> Words {
    match choice {
        Choice::Confirm => Words("Confirm it: the business action took effect.", "确认它：业务操作已生效。"),
        Choice::Cancel => {
            Words("Cancel it: the business action took no effect.", "取消它：业务操作没有生效。")
        }
        Choice::Retry => Words("Retry it now.", "立即重试。"),
        Choice::FindOut => Words(
            "Find out first whether the business action took effect: nobody else can tell.",
            "请先查明业务操作是否生效：没有别的途径可以得知。",
        ),
        Choice::LookAtFence => {
            Words("Look at its fence first: it has the last word.", "请先查看其围栏：以围栏为准。")
        }
        Choice::StartAnswerer => {
            Words("Start a process that has its fence or its handler.", "请启动拥有其围栏或处理函数的进程。")
        }
        Choice::StartService => Words("Start a process of its service.", "请启动其服务的进程。"),
        Choice::Resume => Words("To let it go on sooner, end the pause.", "如需提前继续，可结束暂停。"),
        Choice::Repair => Words("Remove the cause first: see its reason.", "请先排除原因：见其原因说明。"),
        Choice::Nothing => Words("Nothing need be done.", "无需处理。"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn says_the_same_in_each_language() {
        let explanation = Explanation {
            state: MessageState::Half,
            because: Cause::AskedInVain { questions: 3 },
            next: Next::AskHandler,
            when: When::At(SystemTime::UNIX_EPOCH + Duration::from_mins(1)),
            choices: vec![Choice::Repair, Choice::Retry],
        };
        let time =
            |at: SystemTime| format!("{:?}", at.duration_since(SystemTime::UNIX_EPOCH).expect("later"));
        assert_eq!(
            explanation.say(Language::English, time).to_string(),
            "It is stored, and not deliverable: its outcome is undecided. A check-back got no clear answer. Questions that \
             count so far: 3. A check-back asks its handler (60s). Remove the cause first: see its reason. Retry it now."
        );
        assert_eq!(
            explanation.say(Language::Chinese, time).to_string(),
            "已存储，不可投递：结果未定。回查没有得到明确答复。已计次数：3。（60s）将回查其处理函数。请先排除原因：见其原因说明。立即重试。"
        );
    }
}
