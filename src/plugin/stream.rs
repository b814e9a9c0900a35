//! The context of one request.

use super::filter::SharedFilter;
use super::headers::Headers;
use super::{host, proxy};
use crate::engine::Disposition;
use crate::reply::LocalReply;
use crate::request::StreamId;
use log::error;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, MapType};

pub(super) struct Stream {
    id: StreamId,
    filter: SharedFilter,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// The request has not begun, or it goes on.
    Open,
    /// The request was paused; the filter knows whether it still is.
    Paused,
    /// The request got a local reply.
    Refused,
}

impl Stream {
    pub(super) fn new(context_id: u32, filter: SharedFilter) -> Self {
        Self { id: StreamId(context_id), filter, state: State::Open }
    }

    /// Withdraws the request if it waits for a verdict.
    fn end_waiting(&self) {
        if self.state == State::Paused
            && let Some(filter) = self.filter.borrow_mut().as_mut()
        {
            filter.handle_stream_closed(self.id);
        }
    }

    /// Decides whether the rest of the request may follow its head. Some hosts are configured to
    /// hand it over although the head was stopped, and would forward both.
    fn follow(&self) -> Action {
        let filter = self.filter.borrow();
        match self.state {
            State::Open => Action::Continue,
            State::Paused if !filter.as_ref().is_some_and(|f| f.holds(self.id)) => Action::Continue,
            State::Paused | State::Refused => Action::Pause,
        }
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, end_of_stream: bool) -> Action {
        let mut filter = self.filter.borrow_mut();
        self.state = State::Refused;
        let Some(filter) = filter.as_mut() else {
            // A host must not send requests after the configuration was refused.
            error!("mesh-jwt: a request came before the configuration");
            proxy::send(&LocalReply::internal_error());
            return Action::Pause;
        };
        let headers = Headers::read(MapType::HttpRequestHeaders);
        let Some(head) = headers.as_ref().and_then(Headers::head) else {
            error!("mesh-jwt: there are no request headers that can be read");
            filter.refuse();
            return Action::Pause;
        };
        let port = filter.destination_port();
        let head = head.with_body(!end_of_stream).with_destination_port(port);
        match filter.handle_request(self.id, &head, host::now()) {
            Disposition::Decided(verdict) => {
                let action = filter.carry_out(&verdict);
                if action == Action::Continue {
                    self.state = State::Open;
                }
                action
            }
            Disposition::Paused(edits) => {
                if filter.apply(&edits) == Action::Continue {
                    self.state = State::Paused;
                } else {
                    // It got a local reply, and needs no verdict any more.
                    filter.handle_stream_closed(self.id);
                }
                Action::Pause
            }
        }
    }

    fn on_http_request_body(&mut self, _size: usize, _end_of_stream: bool) -> Action {
        self.follow()
    }

    /// The host hands trailers over once, even while the request is paused.
    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        let is_stripped =
            || self.filter.borrow().as_ref().is_some_and(|filter| filter.strip_trailers());
        if self.state != State::Refused && !is_stripped() {
            self.end_waiting();
            self.state = State::Refused;
            match self.filter.borrow().as_ref() {
                Some(filter) => filter.refuse(),
                None => proxy::send(&LocalReply::internal_error()),
            }
        }
        self.follow()
    }
}

impl Context for Stream {}

/// The host is done with the request, however it ended.
impl Drop for Stream {
    fn drop(&mut self) {
        self.end_waiting();
    }
}
