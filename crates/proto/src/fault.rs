//! A [`Fault`] as a gRPC status and back: clients see the gRPC code, our own sides keep the exact one with its hint.
//!
//! Metadata: `tm-code` (the code's text), `tm-hint-bin` (the hint, any text), `tm-retry-after-ms`.

use std::error::Error;
use std::time::Duration;

use base::{Code, Fault};
use bytes::Bytes;
use tonic::Status;
use tonic::metadata::{MetadataMap, MetadataValue};

use crate::bounds::{MAX_TEXT_BYTES, clip};

const CODE: &str = "tm-code";
const HINT: &str = "tm-hint-bin";
const RETRY_AFTER: &str = "tm-retry-after-ms";

/// The status that says what `fault` says. Long texts are clipped, because both travel in headers of bounded size.
pub fn to_status(fault: &Fault) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(CODE, MetadataValue::from_static(fault.code.as_str()));
    if let Some(hint) = &fault.hint {
        metadata.insert_bin(HINT, MetadataValue::from_bytes(clip(hint, MAX_TEXT_BYTES).as_bytes()));
    }
    if let Some(after) = fault.retry_after {
        metadata.insert(RETRY_AFTER, u64::try_from(after.as_millis()).unwrap_or(u64::MAX).into());
    }
    let message = fault.full_message();
    let code = tonic::Code::from_i32(fault.code.grpc_status());
    Status::with_details_and_metadata(code, clip(&message, MAX_TEXT_BYTES), Bytes::new(), metadata)
}

/// The fault that `status` tells of. A status that did not come from the other side at all (no connection, a connection
/// that broke) is [`Code::Unreachable`], whatever gRPC code the transport made up for it.
pub fn from_status(status: &Status) -> Fault {
    let metadata = status.metadata();
    let mut fault = Fault::new(code(status), status.message());
    if let Some(hint) = metadata.get_bin(HINT).and_then(|hint| hint.to_bytes().ok()) {
        fault = fault.hint(String::from_utf8_lossy(&hint));
    }
    let after = metadata.get(RETRY_AFTER).and_then(|after| after.to_str().ok()).and_then(|after| after.parse().ok());
    if let Some(after) = after {
        fault = fault.retry_after(Duration::from_millis(after));
    }
    fault
}

/// Whether the other side made the status itself, out of a fault.
pub fn is_told(status: &Status) -> bool {
    status.metadata().contains_key(CODE)
}

fn code(status: &Status) -> Code {
    let told = status.metadata().get(CODE).and_then(|code| code.to_str().ok()).and_then(Code::parse);
    match told {
        // Another release may map a code differently; then the gRPC code, which everyone shares, is right.
        Some(code) if code.grpc_status() == status.code() as i32 => code,
        _ if status.source().is_some() => of_transport(status),
        _ => of_grpc(status.code()),
    }
}

/// tonic gives a status a source only when it made the status itself.
fn of_transport(status: &Status) -> Code {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::TimeoutExpired>() {
            return Code::DeadlineExceeded;
        }
        cause = error.source();
    }
    Code::Unreachable
}

fn of_grpc(code: tonic::Code) -> Code {
    use tonic::Code as Grpc;
    match code {
        Grpc::InvalidArgument => Code::InvalidArgument,
        Grpc::Unauthenticated => Code::Unauthenticated,
        Grpc::PermissionDenied => Code::PermissionDenied,
        Grpc::NotFound => Code::NotFound,
        Grpc::AlreadyExists | Grpc::Aborted | Grpc::FailedPrecondition => Code::Conflict,
        Grpc::OutOfRange => Code::TooLarge,
        Grpc::Unimplemented => Code::NotSupported,
        Grpc::ResourceExhausted => Code::Overloaded,
        Grpc::Unavailable => Code::Unavailable,
        Grpc::DeadlineExceeded => Code::DeadlineExceeded,
        Grpc::Cancelled => Code::Cancelled,
        Grpc::Ok | Grpc::Unknown | Grpc::Internal | Grpc::DataLoss => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;

    /// Through headers, as over a socket.
    fn over_the_wire(status: &Status) -> Status {
        let mut headers = http::HeaderMap::new();
        status.add_header(&mut headers).unwrap();
        Status::from_header_map(&headers).unwrap()
    }

    #[test]
    fn every_code_survives_exactly() {
        for &code in Code::ALL {
            let fault = Fault::new(code, "could not").hint("do").retry_after(Duration::from_millis(1500));
            let got = from_status(&over_the_wire(&to_status(&fault)));
            assert_eq!((got.code, got.message.as_str()), (code, "could not"));
            assert_eq!((got.hint.as_deref(), got.retry_after), (Some("do"), Some(Duration::from_millis(1500))));
        }
    }

    #[test]
    fn the_cause_is_told() {
        let fault = Fault::unavailable("could not reach engine").because(std::io::Error::other("refused"));
        assert_eq!(from_status(&to_status(&fault)).message, "could not reach engine: refused");
    }

    #[test]
    fn a_foreign_status_is_read_by_its_grpc_code() {
        let got = from_status(&Status::resource_exhausted("full"));
        assert_eq!((got.code, got.hint, got.retry_after), (Code::Overloaded, None, None));
        for number in 0..=16 {
            of_grpc(tonic::Code::from_i32(number));
        }
    }

    #[test]
    fn a_code_that_contradicts_the_status_is_not_believed() {
        let mut status = Status::not_found("no such node");
        status.metadata_mut().insert(CODE, MetadataValue::from_static("overloaded"));
        assert_eq!(from_status(&status).code, Code::NotFound);
    }

    #[test]
    fn a_broken_connection_is_unreachable_and_a_local_timeout_is_not() {
        let mut status = Status::unknown("transport error");
        status.set_source(Arc::new(std::io::Error::other("reset")));
        assert_eq!(from_status(&status).code, Code::Unreachable);
        let status = Status::from_error(Box::new(tonic::TimeoutExpired(())));
        assert_eq!(from_status(&status).code, Code::DeadlineExceeded);
    }

    #[test]
    fn a_long_message_still_fits_into_headers() {
        let got = from_status(&over_the_wire(&to_status(&Fault::internal("é".repeat(100_000)).hint("ö".repeat(9999)))));
        assert!(got.message.len() <= MAX_TEXT_BYTES && got.hint.unwrap().len() <= MAX_TEXT_BYTES);
    }

    proptest! {
        #[test]
        fn any_text_survives(message in "[\\x00-\\x7f\u{e9}\u{1f600}]{0,80}", hint in "[\\x00-\\x7f\u{e9}\n]{0,80}") {
            let got = from_status(&over_the_wire(&to_status(&Fault::invalid(message.clone()).hint(hint.clone()))));
            prop_assert_eq!((got.message, got.hint), (message, Some(hint)));
        }

        #[test]
        fn hostile_metadata_never_panics(code in "[\\x20-\\x7e]{0,20}", after in "[\\x20-\\x7e]{0,30}", hint: Vec<u8>) {
            let mut status = Status::internal("x");
            status.metadata_mut().insert(CODE, code.parse().unwrap());
            status.metadata_mut().insert(RETRY_AFTER, after.parse().unwrap());
            status.metadata_mut().insert_bin(HINT, MetadataValue::from_bytes(&hint));
            from_status(&status);
        }
    }
}
