//! `offhook health`: whether the running server takes events, for containers without a shell.

use std::time::Duration;

use clap::Args;
use http::Method;
use offhook::escape_controls;
use offhook::http_client::HttpClient;
use serde_json::{Value, json};

use super::admin_address::{AdminAddress, AdminListener};
use super::output::{self, Outcome, Verdict};
use super::trust::Trust;

/// Say whether the running server is ready to take events
///
/// Asks /ready of the admin listener, which needs no token, and waits 5 s at most.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Health {
    #[command(flatten)]
    address: AdminAddress,

    /// Print one JSON object instead
    #[arg(long)]
    json: bool,
}

impl Health {
    pub(super) fn run(self) -> Outcome {
        let listener = self.address.find()?;
        let answer = actix_rt::System::new().block_on(ask(&listener, &self.address.trust));
        let is_ready = matches!(&answer, Ok((200, ready)) if ready["status"] == "ready");
        if self.json {
            let (status, ready) = answer.as_ref().ok().cloned().unzip();
            output::print_json(&json!({
                "ready": is_ready,
                "admin": listener.shown(),
                "status": status,
                "answer": ready,
                "error": answer.as_ref().err(),
            }))?;
        } else {
            output::print(&text(is_ready, &answer, listener.shown()))?;
        }
        Ok(Verdict::from(is_ready))
    }
}

/// Asks, and returns the status and the JSON of the answer, or why there is none.
async fn ask(listener: &AdminListener, trust: &Trust) -> Result<(u16, Value), String> {
    let mut url = listener.url.clone();
    url.set_query(None);
    url.set_fragment(None);
    let parts = url.path_segments_mut();
    let mut parts = parts.expect("an http URL has a path");
    parts.pop_if_empty().push("ready");
    drop(parts);
    let request = HttpClient::request(Method::GET, &url).body(bytes::Bytes::new());
    let request = request.map_err(|error| error.to_string())?;
    let http = trust.client(&url, 1, listener.certificate())?;
    let answered = http.send(request, TIMEOUT, LONGEST_ANSWER).await;
    let response = answered.map_err(|error| error.to_string())?.response;
    let status = response.status().as_u16();
    let ready: Option<Value> = serde_json::from_slice(response.body()).ok();
    let ready = ready.filter(|ready| ready["status"].is_string());
    ready.map(|ready| (status, ready)).ok_or_else(|| {
        format!("answered {status}, but not as offhook's admin listener: give its URL with --admin")
    })
}

/// One line.
fn text(is_ready: bool, answer: &Result<(u16, Value), String>, admin: &str) -> String {
    match answer {
        Ok((_, ready)) if is_ready => {
            let restarting = ready["restarting"].as_array().into_iter().flatten();
            let restarting: Vec<&str> = restarting.filter_map(Value::as_str).collect();
            let ready = output::good("ready");
            if restarting.is_empty() {
                return ready;
            }
            let names = restarting.join(", ");
            format!(
                "{ready}, but restarting after a fault: {}",
                escape_controls(&names)
            )
        }
        Ok((_, ready)) => {
            let reason = ready["reason"].as_str().unwrap_or("without a reason");
            format!("{} {}", output::bad("not ready:"), escape_controls(reason))
        }
        Err(error) => format!("{} {admin}: {error}", output::bad("not ready:")),
    }
}

/// Shorter than the default of Docker's health checks, 30 s.
const TIMEOUT: Duration = Duration::from_secs(5);

const LONGEST_ANSWER: usize = 64 * 1024;

const EXAMPLES: &str = "\
Examples:
  offhook health
  offhook health --settings /etc/offhook.toml
  offhook health --admin http://127.0.0.1:5001 --json

Exit status: 0 ready, 1 not ready or not reached, 2 usage.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_for_each_answer() {
        let line = |is_ready, answer: Result<(u16, Value), String>| {
            let text = text(is_ready, &answer, "http://h:1");
            anstream::adapter::strip_str(&text).to_string()
        };
        let ready = json!({ "status": "ready" });
        assert_eq!(line(true, Ok((200, ready))), "ready");
        let ready = json!({ "status": "ready", "restarting": ["handler:a", "b\n"] });
        assert_eq!(
            line(true, Ok((200, ready))),
            "ready, but restarting after a fault: handler:a, b\\n"
        );
        let full = json!({ "status": "not ready", "reason": "the disk\nis full" });
        assert_eq!(
            line(false, Ok((503, full))),
            "not ready: the disk\\nis full"
        );
        assert_eq!(
            line(false, Err("connection refused".to_owned())),
            "not ready: http://h:1: connection refused"
        );
    }
}
