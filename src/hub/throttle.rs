//! How much one connection may cost: the requests it has in progress, and what is kept of them.
//!
//! The protocol's library starts a task for every request and another for every reply, without a
//! limit. So they are counted around it: [`Throttle`] wraps its transport and does not read while
//! [`MAX_IN_FLIGHT`] requests are anywhere between being read and their replies being written;
//! [`Counted`] wraps its service. Read next: [`super::serve`].

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rmcp::model::{
    ClientCapabilities, ClientNotification, ClientRequest, ContentBlock, Implementation,
    InitializeRequestParams, JsonRpcMessage, ProtocolVersion, RequestId, ServerResult,
};
use rmcp::service::{
    NotificationContext, RequestContext, RxJsonRpcMessage, Service, ServiceRole, TxJsonRpcMessage,
};
use rmcp::transport::Transport;
use rmcp::{ErrorData as McpError, RoleServer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::coop::consume_budget;

use super::words::cut;
use crate::name::UnitName;

/// Requests of one connection in progress; while there are so many, it is not read.
pub const MAX_IN_FLIGHT: usize = 8;
/// Longest id of a request, in bytes: every reply repeats it.
pub const MAX_ID: usize = 256;
/// Longest complaint about a request, in bytes: it may quote what was sent.
pub const MAX_COMPLAINT: usize = 4 * 1024;
/// Longest name and version that are kept of a client, in bytes.
const MAX_NAME: usize = 128;

/// The requests in progress, each with its permit.
#[derive(Debug)]
struct Flights {
    free: Arc<Semaphore>,
    // Up to the moment at which the reply is about to be written; the permit stays out until it is.
    by_id: Mutex<HashMap<RequestId, OwnedSemaphorePermit>>,
}

impl Flights {
    fn by_id(&self) -> MutexGuard<'_, HashMap<RequestId, OwnedSemaphorePermit>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a request; its place is free when what is returned is dropped.
    fn end(&self, id: &RequestId) -> Option<OwnedSemaphorePermit> {
        self.by_id().remove(id)
    }
}

/// The two halves of one connection's throttle.
pub(super) fn throttled<S, T>(
    service: S,
    transport: T,
    unit: &UnitName,
) -> (Counted<S>, Throttle<T>) {
    let flights = Arc::new(Flights {
        free: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
        by_id: Mutex::default(),
    });
    let counted = Counted {
        service,
        flights: flights.clone(),
    };
    let throttle = Throttle {
        transport,
        flights,
        unit: unit.clone(),
    };
    (counted, throttle)
}

/// A transport that reads the next request when there is room for its reply.
pub(super) struct Throttle<T> {
    transport: T,
    flights: Arc<Flights>,
    unit: UnitName,
}

impl<T: Transport<RoleServer> + 'static> Transport<RoleServer> for Throttle<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        item: TxJsonRpcMessage<RoleServer>,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        let permit = match &item {
            JsonRpcMessage::Response(response) => self.flights.end(&response.id),
            JsonRpcMessage::Error(error) => error.id.as_ref().and_then(|id| self.flights.end(id)),
            _ => None,
        };
        let sending = self.transport.send(item);
        async move {
            let sent = sending.await;
            drop(permit);
            sent
        }
    }

    async fn receive(&mut self) -> Option<RxJsonRpcMessage<RoleServer>> {
        loop {
            // A flood that is in the buffer already must not hold up other connections.
            consume_budget().await;
            let permit = self.flights.free.clone().acquire_owned().await.ok()?;
            let mut message = self.transport.receive().await?;
            match &mut message {
                JsonRpcMessage::Request(request) => {
                    let unit = &self.unit;
                    if let RequestId::String(id) = &request.id
                        && id.len() > MAX_ID
                    {
                        tracing::warn!("{unit}: closed a connection: a request's id is too long");
                        return None;
                    }
                    // Two requests with one id cannot be told apart, and their replies neither.
                    if self.flights.by_id().contains_key(&request.id) {
                        tracing::warn!("{unit}: closed a connection: two requests with one id");
                        return None;
                    }
                    self.flights.by_id().insert(request.id.clone(), permit);
                    if let ClientRequest::InitializeRequest(hello) = &mut request.request {
                        hello.params = essence(&hello.params);
                    }
                }
                // No call here takes long or can be stopped half way, so each is answered, and
                // counted until then; who has cancelled it ignores the answer.
                JsonRpcMessage::Notification(note)
                    if matches!(
                        note.notification,
                        ClientNotification::CancelledNotification(_)
                    ) =>
                {
                    continue;
                }
                _ => {}
            }
            return Some(message);
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.transport.close().await
    }
}

/// What is needed of a client's introduction, which is kept as long as the connection. This hub
/// asks nothing of clients, so it does not matter what they are capable of.
fn essence(said: &InitializeRequestParams) -> InitializeRequestParams {
    let short = |text: &str| cut(text, MAX_NAME).to_owned();
    let client = Implementation::new(
        short(&said.client_info.name),
        short(&said.client_info.version),
    );
    InitializeRequestParams::new(ClientCapabilities::default(), client)
        .with_protocol_version(said.protocol_version.clone())
}

/// A service whose requests are no longer counted when they end without an answer, and whose
/// complaints are short.
pub(super) struct Counted<S> {
    service: S,
    flights: Arc<Flights>,
}

/// One running request. A broken handler gives no answer, and so nothing that would end it.
struct Running<'a> {
    flights: &'a Flights,
    id: &'a RequestId,
    answered: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.answered {
            self.flights.end(self.id);
        }
    }
}

impl<S: Service<RoleServer>> Service<RoleServer> for Counted<S> {
    async fn handle_request(
        &self,
        request: <RoleServer as ServiceRole>::PeerReq,
        context: RequestContext<RoleServer>,
    ) -> Result<ServerResult, McpError> {
        let id = context.id.clone();
        let mut running = Running {
            flights: &self.flights,
            id: &id,
            answered: false,
        };
        let mut answer = self.service.handle_request(request, context).await;
        match &mut answer {
            Ok(ServerResult::CallToolResult(result)) if result.is_error == Some(true) => {
                for block in &mut result.content {
                    if let ContentBlock::Text(said) = block {
                        shorten(&mut said.text);
                    }
                }
            }
            Err(error) => {
                shorten(error.message.to_mut());
                // What came with it may quote the request as well.
                error.data = error.data.take().filter(|data| {
                    serde_json::to_string(data).is_ok_and(|text| text.len() <= MAX_COMPLAINT)
                });
            }
            Ok(_) => {}
        }
        running.answered = true;
        answer
    }

    async fn handle_notification(
        &self,
        notification: <RoleServer as ServiceRole>::PeerNot,
        context: NotificationContext<RoleServer>,
    ) -> Result<(), McpError> {
        self.service
            .handle_notification(notification, context)
            .await
    }

    fn get_info(&self) -> <RoleServer as ServiceRole>::Info {
        self.service.get_info()
    }

    fn supported_protocol_versions(&self) -> Cow<'static, [ProtocolVersion]> {
        self.service.supported_protocol_versions()
    }
}

fn shorten(text: &mut String) {
    let length = cut(text, MAX_COMPLAINT).len();
    if length < text.len() {
        text.truncate(length);
        text.push('…');
    }
}

#[cfg(test)]
#[path = "throttle_test.rs"]
mod tests;
