//! The context of one request.

use super::headers::Headers;
use super::{SharedDriver, driver, host};
use crate::engine::{Disposition, StreamId};
use crate::reply::LocalReply;
use log::error;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::{Action, MapType};

pub(super) struct Stream {
    id: StreamId,
    driver: SharedDriver,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// Nothing of the request has been seen, or it goes on.
    Open,
    /// It was paused; the driver knows whether it still is.
    Paused,
    /// It was answered.
    Refused,
}

impl Stream {
    pub(super) fn new(context_id: u32, driver: SharedDriver) -> Self {
        Self { id: StreamId(context_id), driver, state: State::Open }
    }

    /// What may happen to the parts of the request that follow its head. Some hosts are configured
    /// to hand them over although the head was stopped, and to send on both if they are let pass.
    fn follow(&self) -> Action {
        let driver = self.driver.borrow();
        match self.state {
            State::Open => Action::Continue,
            State::Paused if !driver.as_ref().is_some_and(|d| d.holds(self.id)) => Action::Continue,
            State::Paused | State::Refused => Action::Pause,
        }
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let mut driver = self.driver.borrow_mut();
        self.state = State::Refused;
        let Some(driver) = driver.as_mut() else {
            // A host that was told that the configuration is refused has no business here.
            error!("mesh-jwt: a request came before the configuration");
            driver::send(&LocalReply::host_failure());
            return Action::Pause;
        };
        let headers = Headers::read(MapType::HttpRequestHeaders);
        let Some(head) = headers.as_ref().ok().and_then(Headers::head) else {
            error!("mesh-jwt: the host does not hand over the request headers");
            driver::send(&LocalReply::host_failure());
            return Action::Pause;
        };
        match driver.handle_request(self.id, &head, host::now()) {
            Disposition::Decided(verdict) => {
                let action = driver.settle(&verdict);
                if action == Action::Continue {
                    self.state = State::Open;
                }
                action
            }
            Disposition::Paused => {
                self.state = State::Paused;
                Action::Pause
            }
        }
    }

    fn on_http_request_body(&mut self, _size: usize, _end_of_stream: bool) -> Action {
        self.follow()
    }

    fn on_http_request_trailers(&mut self, _count: usize) -> Action {
        let action = self.follow();
        if action == Action::Continue
            && let Some(driver) = self.driver.borrow().as_ref()
        {
            driver.strip_trailers();
        }
        action
    }
}

impl Context for Stream {}

/// The host has done with the request, in whatever way.
impl Drop for Stream {
    fn drop(&mut self) {
        if self.state == State::Paused
            && let Some(driver) = self.driver.borrow_mut().as_mut()
        {
            driver.handle_stream_closed(self.id);
        }
    }
}
