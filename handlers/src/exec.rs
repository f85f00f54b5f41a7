//! [`ExecHandler`]: runs a program for each event.

mod check;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::process::{ExitStatus, Stdio};

use async_trait::async_trait;
use bytes::Bytes;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Serialize, Serializer};
use tokio::io::AsyncWriteExt as _;
use tokio::process::{ChildStdin, Command};

use crate::{Delivery, Event, EventHandler, HandlerError, percent_encode};

pub use check::CannotRun;

/// The program to run.
///
/// ```
/// let mut exec = offhook_handlers::Exec::default();
/// exec.command = vec!["no-such-program".to_owned()];
///
/// let error = exec.check().unwrap_err();
/// assert!(error.to_string().starts_with("there is no program \"no-such-program\" in PATH"));
/// ```
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
pub struct Exec {
    /// The program and its arguments. They are never given to a shell.
    pub command: Vec<String>,
    /// Variables that are added to the program's environment, which is otherwise almost empty.
    #[serde(serialize_with = "names")]
    pub env: BTreeMap<String, String>,
    /// Exit codes that mean "do not try again".
    pub reject_codes: Vec<u8>,
}

/// Writes the names of the variables only: their values may be secrets.
fn names<S: Serializer>(env: &BTreeMap<String, String>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(env.keys())
}

/// Shows the names of the variables only: their values may be secrets.
impl fmt::Debug for Exec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Exec")
            .field("command", &self.command)
            .field("env", &self.env.keys())
            .field("reject_codes", &self.reject_codes)
            .finish()
    }
}

/// Runs a program for each event (`use = "exec"`).
///
/// The body, decoded, is the program's standard input. Its environment holds `PATH`, `HOME`, `LANG` and
/// `TZ` with offhook's values, the variables of the settings, and `OFFHOOK_EVENT` (the kind),
/// `OFFHOOK_EVENT_NAME`, `OFFHOOK_SESSION`, `OFFHOOK_ID` and `OFFHOOK_ATTEMPT`. Values from senders are
/// percent-encoded, and cut to 4,096 bytes. The program shares offhook's standard output and error, so
/// offhook holds nothing of what it prints. It need not read its input.
///
/// Exit status 0 means done. Every other status, such as 75 (`EX_TEMPFAIL` of sysexits.h), means try
/// again, except those in [`Exec::reject_codes`]. When the handler's timeout is over, the program's
/// whole process group is killed.
///
/// A program that is the first process of a container also has to reap what these programs leave behind:
/// see `offhook::run_as_first_process`.
#[derive(Debug)]
pub struct ExecHandler {
    exec: Exec,
}

impl ExecHandler {
    /// A handler that runs `exec`. [`Exec::check`] says whether it can run.
    ///
    /// # Errors
    ///
    /// When `exec.command` is empty.
    pub fn new(exec: Exec) -> Result<Self, EmptyCommand> {
        if exec.command.is_empty() {
            return Err(EmptyCommand);
        }
        Ok(Self { exec })
    }

    fn command(&self, event: &Event, delivery: &Delivery) -> Command {
        let inherited = INHERITED.iter();
        let inherited = inherited.filter_map(|name| Some((name, std::env::var_os(name)?)));
        let mut command = Command::new(&self.exec.command[0]);
        command
            .args(&self.exec.command[1..])
            .env_clear()
            .envs(inherited)
            .envs(&self.exec.env)
            .env("OFFHOOK_EVENT", event.kind().as_str())
            .env("OFFHOOK_EVENT_NAME", &*value(event.name()))
            .env("OFFHOOK_SESSION", &*value(delivery.session()))
            .env("OFFHOOK_ID", delivery.id().to_string())
            .env("OFFHOOK_ATTEMPT", delivery.attempt().to_string())
            .stdin(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true);
        command
    }

    fn judge(&self, status: ExitStatus) -> Result<(), HandlerError> {
        let program = &self.exec.command[0];
        let Some(code) = status.code() else {
            return Err(HandlerError::retry(format!("{program}: {status}")));
        };
        let reason = format!("{program}: exit status {code}");
        match u8::try_from(code) {
            Ok(0) => Ok(()),
            Ok(code) if self.exec.reject_codes.contains(&code) => Err(HandlerError::reject(reason)),
            _ => Err(HandlerError::retry(reason)),
        }
    }
}

#[async_trait]
impl EventHandler for ExecHandler {
    async fn handle(&self, event: &Event, delivery: &Delivery) -> Result<(), HandlerError> {
        let mut child = self.command(event, delivery).spawn().map_err(|error| {
            HandlerError::retry(format!("cannot run {}: {error}", self.exec.command[0]))
        })?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let mut group = GroupGuard(id.and_then(Pid::from_raw));
        let stdin = child.stdin.take();
        let status = tokio::select! {
            status = child.wait() => status?,
            never = feed(stdin, delivery.content().clone()) => match never {},
        };
        group.0 = None;
        self.judge(status)
    }
}

/// A sender's text as a variable's value: percent-encoded, and cut between two encoded letters.
fn value(text: Option<&str>) -> Cow<'_, str> {
    let text = text.unwrap_or_default();
    let encoded = percent_encode(text);
    if encoded.len() <= MAX_VALUE {
        return encoded;
    }
    let mut length = 0;
    let fits = |letter: &(usize, char)| {
        length += percent_encode(letter.1.encode_utf8(&mut [0; 4])).len();
        length <= MAX_VALUE
    };
    let kept = text.char_indices().take_while(fits).last();
    let end = kept.map_or(0, |(start, letter)| start + letter.len_utf8());
    percent_encode(&text[..end])
}

/// Writes the body and closes the pipe. Only the program's exit status decides the outcome.
///
/// A program may end without reading its input, so a broken pipe is not an error.
async fn feed(stdin: Option<ChildStdin>, body: Bytes) -> std::convert::Infallible {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(&body).await;
    }
    std::future::pending().await
}

/// Kills the program's process group, unless the program has ended. The handler's future is dropped when
/// its timeout is over.
struct GroupGuard(Option<Pid>);

impl Drop for GroupGuard {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It can only fail if the group is already gone.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// The command is empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the command is empty; it needs at least the program's name")]
#[non_exhaustive]
pub struct EmptyCommand;

/// The variables of offhook's environment that a program gets.
const INHERITED: [&str; 4] = ["PATH", "HOME", "LANG", "TZ"];

/// The longest value that a sender can set. A session of 1,024 bytes, which is the longest that offhook
/// stores, always fits.
const MAX_VALUE: usize = 4096;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::{Received, UnknownEvent, UnknownReason};

    fn handler(script: &str) -> ExecHandler {
        ExecHandler::new(Exec {
            command: ["sh", "-c", script].map(str::to_owned).to_vec(),
            env: BTreeMap::from([("GREETING".to_owned(), "hi".to_owned())]),
            reject_codes: vec![64],
        })
        .unwrap()
    }

    async fn run(script: &str) -> Result<(), HandlerError> {
        let mut event = UnknownEvent::new(UnknownReason::UnknownName);
        event.name = Some("a b".into());
        let mut received = Received::new("s", "the body");
        received.session = Some("x\r\ny".into());
        let delivery = Delivery::new(Arc::new(received), 2, false);
        handler(script)
            .handle(&Event::Unknown(event), &delivery)
            .await
    }

    #[tokio::test]
    async fn the_program_gets_body_and_environment() {
        run(r#"test "$(cat)" = "the body""#).await.unwrap();
        run(r#"test "$OFFHOOK_EVENT/$OFFHOOK_EVENT_NAME" = "unknown/a%20b""#)
            .await
            .unwrap();
        run(r#"test "$OFFHOOK_SESSION" = "x%0D%0Ay" && test "$OFFHOOK_ATTEMPT" = 2"#)
            .await
            .unwrap();
        run(r#"test "$OFFHOOK_ID" = 00000000-0000-0000-0000-000000000000"#)
            .await
            .unwrap();
        run(r#"test "$GREETING" = hi && test -z "$CARGO_PKG_NAME""#)
            .await
            .unwrap();
    }

    #[test]
    fn long_values_are_cut_between_letters() {
        let table = [
            ("s".repeat(200_000), "s".repeat(MAX_VALUE)),
            ("ü".repeat(200_000), "%C3%BC".repeat(MAX_VALUE / 6)),
            ("ü".repeat(512), "%C3%BC".repeat(512)),
            (format!("{}ü", "s".repeat(4092)), "s".repeat(4092)),
            (String::new(), String::new()),
        ];
        for (text, expected) in table {
            assert_eq!(value(Some(&text)), expected);
        }
        assert_eq!(value(None), "");
    }

    #[tokio::test]
    async fn a_program_need_not_read_its_input() {
        for script in ["exit 0", "exec <&-; sleep 0.1"] {
            let received = Received::new("s", vec![b'x'; 1 << 20]);
            let delivery = Delivery::new(Arc::new(received), 1, false);
            let event = Event::Unknown(UnknownEvent::new(UnknownReason::NoName));
            handler(script).handle(&event, &delivery).await.unwrap();
        }
    }

    #[tokio::test]
    async fn the_exit_status_decides() {
        assert!(run("exit 0").await.is_ok());
        assert!(run("exit 64").await.unwrap_err().is_reject());
        for script in ["exit 75", "exit 1", "kill -9 $$"] {
            assert!(!run(script).await.unwrap_err().is_reject(), "{script}");
        }
        assert_eq!(
            run("exit 7").await.unwrap_err().to_string(),
            "sh: exit status 7"
        );
    }

    #[tokio::test]
    async fn a_timeout_kills_the_whole_group() {
        let marker = std::env::temp_dir().join(format!("offhook-exec-{}", std::process::id()));
        let script = format!("(sleep 1; touch {}) & wait", marker.display());
        let outcome = tokio::time::timeout(Duration::from_millis(200), run(&script)).await;
        assert!(outcome.is_err());
        tokio::time::sleep(Duration::from_millis(1500)).await;
        assert!(!marker.exists(), "the grandchild outlived the timeout");
    }

    #[tokio::test]
    async fn a_missing_program_is_a_retry() {
        let exec = Exec {
            command: vec!["/nonexistent/program".into()],
            ..Exec::default()
        };
        let event = Event::Unknown(UnknownEvent::new(UnknownReason::NoName));
        let delivery = Delivery::new(Arc::new(Received::new("s", "")), 1, false);
        let handler = ExecHandler::new(exec).unwrap();
        let error = handler.handle(&event, &delivery).await.unwrap_err();
        assert!(!error.is_reject());
        assert!(
            error
                .to_string()
                .starts_with("cannot run /nonexistent/program: ")
        );
    }
}
