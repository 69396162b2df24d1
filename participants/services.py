"""All services of the shop."""

from __future__ import annotations

from participants.customer.api import SERVICE as CUSTOMER
from participants.inventory.api import SERVICE as INVENTORY
from participants.order.api import SERVICE as ORDER
from participants.payment.api import SERVICE as PAYMENT
from participants.product.api import SERVICE as PRODUCT
from participants.service import Service
from participants.shipping.api import SERVICE as SHIPPING

__all__ = ["SERVICES"]

SERVICES: tuple[Service, ...] = (PRODUCT, ORDER, CUSTOMER, PAYMENT, INVENTORY, SHIPPING)
