"""The shop's choreography: the one file that names all participants together."""

from __future__ import annotations

from contracts.events.order import OrderCancelled
from contracts.events.shipping import ParcelDelivered
from participants.customer.steps import customer
from participants.inventory.steps import inventory
from participants.order import carts, projections
from participants.order.steps import order
from participants.payment.steps import payment
from participants.product.steps import product
from participants.settings import ShopSettings
from participants.shipping.steps import shipping
from sagas import Choreography
from sagas.check import Never

__all__ = ["shop", "shop_deadline_s", "shop_rules"]

# Importing these declares the order service's documents beside the saga's.
assert carts.carts.participant is projections.catalogue.participant is order

shop = Choreography(
    "order-to-delivery",
    [order, payment, inventory, shipping, product, customer],
    completed_by=[ParcelDelivered],
    compensated_by=[OrderCancelled],
    owner="customer_id",
    operator="staff",
)

#: What `sagas check` holds the flow against, beside its own rules.
shop_rules = [
    Never(
        "dispatch_parcel",
        after="refund_payment",
        why="goods never leave after the money went back",
    )
]
shop_deadline_s = ShopSettings().saga_deadline_s
