"""How clients see orders and carts."""

from __future__ import annotations

from contracts.api import orders as api
from participants.order.carts import Cart
from participants.order.domain import Order
from sagas.envelope import rfc3339

__all__ = ["accepted", "cart_resource", "order_resource"]


def order_resource(order: Order) -> api.Order:
    request = order.cancellation_request
    return api.Order(
        order_id=order.order_id,
        customer_id=order.customer_id,
        status=order.status,
        lines=[
            api.OrderedLine(
                sku=line.sku, name=line.name, quantity=line.quantity, unit_price=line.unit_price
            )
            for line in order.lines
        ],
        total=order.total,
        shipping_address=order.shipping_address,
        payment=api.OrderPayment(status=order.payment.status, payment_id=order.payment.payment_id),
        shipment=api.OrderShipment(
            tracking_number=order.shipment.tracking_number, status=order.shipment.status
        ),
        created_at=rfc3339(order.created_at),
        history=[
            api.StatusEntry(status=entry.status, at=rfc3339(entry.at)) for entry in order.history
        ],
        cancellation_request=None
        if request is None
        else api.CancellationRequest(
            status=request.status, by=request.by, reason=request.reason, at=rfc3339(request.at)
        ),
        cancellation=None
        if order.cancellation is None
        else api.Cancellation(code=order.cancellation.code, detail=order.cancellation.detail),
    )


def accepted(order: Order) -> api.OrderAccepted:
    """The 202 for a new order: always as it was at that moment."""
    saga = f"/api/sagas/{order.order_id}"
    return api.OrderAccepted(
        order_id=order.order_id,
        saga_id=order.order_id,
        status="pending",
        total=order.total,
        links=api.OrderLinks(
            order=f"/api/orders/{order.order_id}", saga=saga, events=f"{saga}/events"
        ),
    )


def cart_resource(cart: Cart) -> api.Cart:
    return api.Cart(
        customer_id=cart.customer_id,
        items=[api.CartItem(sku=item.sku, quantity=item.quantity) for item in cart.items],
    )
