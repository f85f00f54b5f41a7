//! [`on_demand`]: an actix service that exists only while there are connections.
//!
//! actix-http's service renews its `Date` header twice a second, also without connections. An idle
//! server must cost nothing, so the service is made for the first connection and dropped when there
//! has been none for [`UNUSED`].

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use actix_service::{Service as _, ServiceFactory, fn_service};

/// Makes the service with `make` for the first connection, and drops it when it is unused.
pub(crate) fn on_demand<F, Req>(
    make: impl Fn() -> F + 'static,
) -> impl ServiceFactory<Req, Config = (), Response = F::Response, Error = (), InitError = ()>
where
    F: ServiceFactory<Req, Config = ()> + 'static,
    Req: 'static,
{
    on_demand_for(make, UNUSED)
}

fn on_demand_for<F, Req>(
    make: impl Fn() -> F + 'static,
    unused: Duration,
) -> impl ServiceFactory<Req, Config = (), Response = F::Response, Error = (), InitError = ()>
where
    F: ServiceFactory<Req, Config = ()> + 'static,
    Req: 'static,
{
    let current = Rc::new(RefCell::new(None));
    let make = Rc::new(make);
    fn_service(move |request: Req| {
        let (current, make) = (Rc::clone(&current), Rc::clone(&make));
        async move {
            let existing = current.borrow().clone();
            let service = match existing {
                Some(service) => service,
                None => {
                    let service = Rc::new(make().new_service(()).await.map_err(|_| ())?);
                    *current.borrow_mut() = Some(Rc::clone(&service));
                    actix_rt::spawn(drop_when_unused(current, unused));
                    service
                }
            };
            let ready = poll_fn(|cx| service.poll_ready(cx)).await;
            ready.map_err(|_| ())?;
            service.call(request).await.map_err(|_| ())
        }
    })
}

/// Drops the service when no connection uses it any more.
async fn drop_when_unused<S>(current: Rc<RefCell<Option<Rc<S>>>>, unused: Duration) {
    loop {
        actix_rt::time::sleep(unused).await;
        let owners = current.borrow().as_ref().map(Rc::strong_count);
        if owners.is_none_or(|owners| owners == 1) {
            // Dropped after the borrow has ended, because the service's own code runs then.
            let service = current.borrow_mut().take();
            drop(service);
            return;
        }
    }
}

/// How long an unused service is kept, so that a sender with a connection for each request does not
/// make a new one each time.
const UNUSED: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// Counts how many services exist.
    struct Counted(Rc<Cell<i32>>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }

    #[actix_web::test]
    async fn the_service_exists_only_while_it_is_used() {
        let (made, there) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let factory = {
            let (made, there) = (Rc::clone(&made), Rc::clone(&there));
            let make = move || {
                made.set(made.get() + 1);
                there.set(there.get() + 1);
                let counted = Rc::new(Counted(Rc::clone(&there)));
                fn_service(move |pause: Duration| {
                    let counted = Rc::clone(&counted);
                    async move {
                        actix_rt::time::sleep(pause).await;
                        drop(counted);
                        Ok::<_, ()>(())
                    }
                })
            };
            on_demand_for(make, KEPT)
        };
        let service = factory.new_service(()).await.unwrap();
        assert_eq!((made.get(), there.get()), (0, 0), "no connection yet");
        // In use for much longer than an unused one is kept.
        service.call(10 * KEPT).await.unwrap();
        assert_eq!((made.get(), there.get()), (1, 1));
        while there.get() > 0 {
            actix_rt::time::sleep(KEPT).await;
        }
        service.call(Duration::ZERO).await.unwrap();
        assert_eq!(made.get(), 2, "it is made again");
    }

    const KEPT: Duration = Duration::from_millis(5);
}
