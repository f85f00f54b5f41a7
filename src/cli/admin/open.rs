//! Asks the server for an answer that is read piece by piece.

use http::header::{AUTHORIZATION, HeaderName};
use http::{Method, StatusCode};
use offhook::http_client::{HttpClient, Opened, Unanswered};
use serde::Serialize;

use super::super::client::TIMEOUT;
use super::super::output::Failure;
use super::super::trust::Trust;
use super::{Server, authorization, given, refused, unreached, url};

/// Why there is no answer to read.
#[derive(Debug)]
pub(in super::super) struct NotOpened {
    pub(in super::super) failure: Failure,
    /// The status, if there was an answer.
    pub(in super::super) status: Option<StatusCode>,
}

impl From<Failure> for NotOpened {
    fn from(failure: Failure) -> Self {
        Self {
            failure,
            status: None,
        }
    }
}

impl NotOpened {
    /// Whether it may be otherwise in a moment, if the server was there before.
    pub(in super::super) fn may_pass(&self) -> bool {
        self.status.is_none_or(|status| status.is_server_error())
    }
}

impl Server {
    /// Whether JSON is to be printed.
    pub(in super::super) fn prints_json(&self) -> bool {
        self.json
    }

    /// Where the server is.
    pub(in super::super) fn url(&self) -> Result<String, Failure> {
        Ok(self.address.find()?.url.to_string())
    }

    /// How the command speaks TLS.
    pub(in super::super) fn trust(&self) -> &Trust {
        &self.address.trust
    }

    /// Asks by GET, and returns the answer when its head is there and says success.
    pub(in super::super) async fn open(
        &self,
        path: &[&str],
        fields: &impl Serialize,
        headers: &[(HeaderName, String)],
    ) -> Result<Opened, NotOpened> {
        let listener = self.address.find()?;
        let fields = given(fields).map_err(Failure::usage)?;
        let url = url(&listener.url, path, &fields)?;
        let token = match &self.token {
            Some(token) => Some(token.clone()),
            None => self.address.token(&listener)?,
        };
        let mut request = HttpClient::request(Method::GET, &url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        if let Some(token) = &token {
            request = request.header(AUTHORIZATION, authorization(token)?);
        }
        let request = request.body(Default::default()).map_err(Failure::usage)?;
        let http = self.address.trust.client(&url, 1, listener.certificate());
        let http = http.map_err(Failure::failed)?;
        let no_answer = |error: Unanswered| unreached(&listener, &error.to_string());
        let mut opened = http.open(request, TIMEOUT).await.map_err(no_answer)?;
        let status = opened.head.status;
        if status.is_success() {
            return Ok(opened);
        }
        let mut body = Vec::new();
        while let Some(piece) = opened.next(TIMEOUT).await.map_err(no_answer)?
            && body.len() < LONGEST_REFUSAL
        {
            body.extend_from_slice(&piece);
        }
        let json = String::from_utf8(body).ok();
        let asked = format!("GET {url}");
        let text = refused(&asked, status.as_u16(), json, token.is_some());
        Err(NotOpened {
            failure: Failure::failed(text),
            status: Some(status),
        })
    }
}

const LONGEST_REFUSAL: usize = 64 * 1024;
