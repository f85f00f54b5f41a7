//! [`on_demand`]: an actix service that is there only while somebody may want it.
//!
//! actix-http's service makes the `Date` header anew twice a second, whether anybody is connected or
//! not. A server that nobody talks to must cost nothing, so the service is made with the first
//! connection and let go when there have been none for [`UNUSED`].

use std::cell::RefCell;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use actix_service::{Service as _, ServiceFactory, fn_service};

/// A service that is as the one `make` makes, when there is one.
pub(crate) fn on_demand<F, Req>(
    make: impl Fn() -> F + 'static,
) -> impl ServiceFactory<Req, Config = (), Response = F::Response, Error = (), InitError = ()>
where
    F: ServiceFactory<Req, Config = ()> + 'static,
    Req: 'static,
{
    kept_unused(make, UNUSED)
}

fn kept_unused<F, Req>(
    make: impl Fn() -> F + 'static,
    unused: Duration,
) -> impl ServiceFactory<Req, Config = (), Response = F::Response, Error = (), InitError = ()>
where
    F: ServiceFactory<Req, Config = ()> + 'static,
    Req: 'static,
{
    let there = Rc::new(RefCell::new(None));
    let make = Rc::new(make);
    fn_service(move |request: Req| {
        let (there, make) = (Rc::clone(&there), Rc::clone(&make));
        async move {
            let known = there.borrow().clone();
            let service = match known {
                Some(service) => service,
                None => {
                    let service = make().new_service(()).await.map_err(|_| ())?;
                    let service = Rc::new(service);
                    *there.borrow_mut() = Some(Rc::clone(&service));
                    actix_rt::spawn(let_go(there, unused));
                    service
                }
            };
            let ready = poll_fn(|cx| service.poll_ready(cx)).await;
            ready.map_err(|_| ())?;
            service.call(request).await.map_err(|_| ())
        }
    })
}

/// Ends when nobody has the service any more.
async fn let_go<S>(there: Rc<RefCell<Option<Rc<S>>>>, unused: Duration) {
    loop {
        actix_rt::time::sleep(unused).await;
        let used = there.borrow().as_ref().map(Rc::strong_count);
        if used.is_none_or(|owners| owners == 1) {
            // Outside the borrow: what is dropped may be anything.
            let unused = there.borrow_mut().take();
            drop(unused);
            return;
        }
    }
}

/// How long a service is kept that nobody uses: senders that connect anew for each request must not
/// make it anew each time.
const UNUSED: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// How many there are.
    struct Counted(Rc<Cell<i32>>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.set(self.0.get() - 1);
        }
    }

    #[actix_web::test]
    async fn the_service_is_there_while_it_is_used_and_no_longer() {
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
            kept_unused(make, KEPT)
        };
        let service = factory.new_service(()).await.unwrap();
        assert_eq!((made.get(), there.get()), (0, 0), "nobody has asked");
        // In use for much longer than it would be kept without.
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
