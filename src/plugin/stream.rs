//! The context of one request.

use super::{SharedDriver, driver, host};
use crate::engine::{Disposition, StreamId};
use crate::reply::LocalReply;
use crate::request::RequestHead;
use log::error;
use proxy_wasm::traits::{Context, HttpContext};
use proxy_wasm::types::Action;

pub(super) struct Stream {
    id: StreamId,
    driver: SharedDriver,
    is_paused: bool,
}

impl Stream {
    pub(super) fn new(context_id: u32, driver: SharedDriver) -> Self {
        Self { id: StreamId(context_id), driver, is_paused: false }
    }
}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _count: usize, _end_of_stream: bool) -> Action {
        let mut driver = self.driver.borrow_mut();
        let Some(driver) = driver.as_mut() else {
            // A host that was told that the configuration is refused has no business here.
            error!("mesh-jwt: a request came before the configuration");
            driver::send(&LocalReply::host_failure());
            return Action::Pause;
        };
        let headers = match host::request_headers() {
            Ok(headers) => headers,
            Err(status) => {
                error!("mesh-jwt: the host does not hand over the request headers: {status:?}");
                driver::send(&LocalReply::host_failure());
                return Action::Pause;
            }
        };
        match driver.handle_request(self.id, &RequestHead::new(&headers), host::now()) {
            Disposition::Decided(verdict) => driver.settle(&verdict),
            Disposition::Paused => {
                self.is_paused = true;
                Action::Pause
            }
        }
    }
}

impl Context for Stream {
    fn on_done(&mut self) -> bool {
        if self.is_paused
            && let Some(driver) = self.driver.borrow_mut().as_mut()
        {
            driver.handle_stream_closed(self.id);
        }
        true
    }
}
