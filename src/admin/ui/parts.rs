//! What several pages have.

use actix_web::HttpResponse;
use actix_web::http::header::ContentType;
use bytesize::ByteSize;
use maud::{Markup, Render, html};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use url::form_urlencoded::Serializer;

use crate::admin::role::Role;
use crate::admin::state::AdminState;
use crate::journal::Seq;
use crate::{EventId, Timestamp};

/// A fragment: the content of a page.
#[derive(Default)]
pub(super) struct Page {
    pub(super) title: String,
    /// What the keys for copying and replaying are about.
    pub(super) id: Option<EventId>,
    /// Where newer rows come from.
    pub(super) stream: Option<String>,
    /// The head of the journal before the content was read: newer events are behind it.
    pub(super) after: Option<Seq>,
}

impl Page {
    pub(super) fn new(title: impl Into<String>) -> Self {
        let title = title.into();
        Self {
            title,
            ..Self::default()
        }
    }

    /// The answer with this content, and with the numbers of the navigation.
    pub(super) async fn answer(self, state: &AdminState, content: &Markup) -> HttpResponse {
        let dead = dead_letters(state).await;
        let refused = state.ingress.refused().count_of_sources().to_string();
        let article = html! {
            article data-title=(self.title) data-id=[self.id] data-stream=[self.stream.as_ref()] data-after=[self.after] data-dead=[dead] data-refused=(refused) {
                (content)
            }
        };
        fragment(article)
    }
}

/// The answer to a request for a part of a page.
pub(super) fn fragment(markup: Markup) -> HttpResponse {
    HttpResponse::Ok()
        .insert_header(ContentType::html())
        .body(markup.into_string())
}

/// How many dead letters there are, as the navigation shows it: counting all could take long.
pub(super) async fn dead_letters(state: &AdminState) -> Option<String> {
    let journal = state.pipeline.as_ref()?.journal();
    let some = journal.dead_letters(None, None, MOST_COUNTED + 1).await;
    Some(match some.ok()?.len() {
        number if number > MOST_COUNTED => format!("{MOST_COUNTED}+"),
        number => number.to_string(),
    })
}

const MOST_COUNTED: usize = 99;

/// A time; the script writes it for its reader.
pub(super) fn time(at: Timestamp) -> Markup {
    html! { time datetime=(at) { (at.strftime("%Y-%m-%d %H:%M:%S UTC")) } }
}

/// How long ago something was.
pub(super) fn ago(at: Timestamp) -> Markup {
    html! { time datetime=(at) data-as="ago" { (at.strftime("%Y-%m-%d %H:%M:%S UTC")) } }
}

/// A time in a field of the API's answer.
pub(super) fn time_in(value: &Value, how: fn(Timestamp) -> Markup) -> Option<Markup> {
    let at = value.as_str()?.parse().ok()?;
    Some(how(at))
}

pub(super) fn size(bytes: u64) -> String {
    ByteSize::b(bytes).display().iec().to_string()
}

/// A number with its thousands apart.
pub(super) fn number(number: u64) -> String {
    let digits = number.to_string();
    let groups = digits.as_bytes().rchunks(3).rev();
    let groups: Vec<&str> = groups
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    groups.join(",")
}

/// A number of things, such as "1 event" and "2 events".
pub(super) fn many(count: u64, one: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {one}{plural}", number(count))
}

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Tone {
    Bad,
    Warn,
    Idle,
    Good,
}

impl Tone {
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Bad => "is-bad",
            Self::Warn => "is-warn",
            Self::Idle => "is-idle",
            Self::Good => "is-good",
        }
    }

    /// That of the state of an event or a consumer, by its name.
    pub(super) fn of(state: &str) -> Self {
        match state {
            "dead" | "failing" | "suspended" | "ended" | "restarting" => Self::Bad,
            "retrying" | "paused" | "quiet" => Self::Warn,
            "done" | "running" | "heard" => Self::Good,
            _ => Self::Idle,
        }
    }
}

/// A state: a word with a shape in its colour.
pub(super) fn state(word: &str) -> Markup {
    html! { span.state.(Tone::of(word).class()) { (word) } }
}

/// The name of a consumer as it is shown: without what its kind says already.
pub(super) fn short_name(name: &str) -> &str {
    let name = name.strip_prefix("handler:").unwrap_or(name);
    let name = name.strip_prefix("subscription:").unwrap_or(name);
    name.strip_prefix("*:").unwrap_or(name)
}

/// One segment of a path.
pub(super) fn segment(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

/// A path with a query of what has a value.
pub(super) fn with_query(path: &str, pairs: &[(&str, Option<&str>)]) -> String {
    let mut query = Serializer::new(String::new());
    for (name, value) in pairs {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            query.append_pair(name, value);
        }
    }
    match query.finish() {
        query if query.is_empty() => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

/// A number that may be unknown.
pub(super) fn count(value: &Value) -> Markup {
    match value.as_u64() {
        Some(count) => html! { (number(count)) },
        None => html! { span.quiet { "–" } },
    }
}

/// How long ago something was, where that is known.
pub(super) fn when(value: &Value) -> Markup {
    time_in(value, ago).unwrap_or_else(|| html! { span.quiet { "–" } })
}

pub(super) fn consumer_link(name: &str) -> Markup {
    html! { a href={ "consumers/" (segment(name)) } { (short_name(name)) } }
}

/// A request of a button: method, path below the base, body.
pub(super) fn call(method: &str, path: impl Into<String>, body: &Value) -> Value {
    json!([method, path.into(), body])
}

/// A button that asks first, then sends a request to the API. A viewer has none, nor is there one without a request.
pub(super) struct Act<'a> {
    /// On the button of the page.
    pub(super) name: &'a str,
    /// The question.
    pub(super) ask: String,
    /// On the button below the question; it says the number.
    pub(super) say: String,
    /// What must be typed to confirm.
    pub(super) typed: Option<String>,
    pub(super) call: Value,
    /// The page to show afterwards; by default the same.
    pub(super) then: Option<&'a str>,
    /// What is told afterwards, when all is well and when it is not; `{name}` stands for a field of the answer.
    pub(super) told: Option<[&'static str; 2]>,
}

impl Act<'_> {
    pub(super) fn button(&self, role: Role) -> Markup {
        let call = self.call.to_string();
        html! {
            @if role.may_change() && !self.call.is_null() {
                button type="button" data-ask=(self.ask) data-say=(self.say) data-type=[self.typed.as_ref()]
                    data-call=(call) data-then=[self.then]
                    data-done=[self.told.map(|told| told[0])] data-bad=[self.told.map(|told| told[1])] { (self.name) }
            }
        }
    }
}

/// Text that can be copied, and the button that does.
pub(super) fn copied(name: &str, text: &str) -> Markup {
    html! { button type="button" data-copy=(text) { (name) } }
}

/// One row of a list of facts; nothing where there is no value.
pub(super) fn fact(name: &str, value: Option<impl Render>) -> Markup {
    html! { @if let Some(value) = value { dt { (name) } dd { (value) } } }
}

/// A text in one line, whose characters do not change the order of others.
pub(super) fn plain(text: &str) -> String {
    beginning(text, usize::MAX)
}

/// At most so many characters of a text, as [`plain`].
pub(super) fn beginning(text: &str, most: usize) -> String {
    let visible = |c: char| match c {
        '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => '\u{fffd}',
        c if c.is_control() => ' ',
        c => c,
    };
    let mut shown: String = text.chars().take(most).map(visible).collect();
    if text.chars().nth(most).is_some() {
        shown.push('…');
    }
    shown
}

/// As much of a text as takes at most so many bytes when it is escaped.
pub(super) fn fitting(text: &str, most: usize) -> &str {
    let mut bytes = 0;
    let end = text.char_indices().find(|(_, c)| {
        bytes += if "<>&\"".contains(*c) {
            6
        } else {
            c.len_utf8()
        };
        bytes > most
    });
    end.map_or(text, |(end, _)| &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_texts() {
        assert_eq!(number(0), "0");
        assert_eq!(number(1_048_577), "1,048,577");
        assert_eq!(many(1, "event"), "1 event");
        assert_eq!(many(312, "event"), "312 events");
        assert_eq!(beginning("a\nb\u{202e}c", 3), "a b…");
        assert_eq!(fitting("ab<c", 8), "ab<");
        assert_eq!(fitting("ab<c", 7), "ab");
        assert_eq!(short_name("subscription:*:crm"), "crm");
        assert_eq!(short_name("subscription:408f:crm"), "408f:crm");
    }

    #[test]
    fn hostile_texts_stay_texts() {
        let hostile = "\"><script>alert(1)</script>";
        let shown = html! { a href=(with_query("events", &[("session", Some(hostile)), ("event", None)])) { (hostile) } };
        assert_eq!(
            shown.into_string(),
            "<a href=\"events?session=%22%3E%3Cscript%3Ealert%281%29%3C%2Fscript%3E\">\
             &quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;</a>"
        );
        assert_eq!(segment("../x?#"), "%2E%2E%2Fx%3F%23");
    }
}
