import asyncio, gzip, time, base64, orjson
import jwt, pytest
from tests.e2e.conftest import *
from participants.shipping.webhook import sign
pytestmark = pytest.mark.asyncio(loop_scope="module")

def show(label, a):
    ok = a.headers.get("Content-Type")
    body = a.raw[:330]
    print(f"{a.status} {label:50} {ok} {body!r}")

async def test_probe(shop):
    c, s, o, an = shop.customer, shop.staff, shop.other, shop.anonymous
    J = {"Content_Type": "application/json"}
    oid = await shop.placed()
    await shop.reached(oid, "delivered")
    async def t(label, who, m, p, b=None, **k):
        try: show(label, await who(m, p, b, **k))
        except Exception as e: print("EXC", label, repr(e))
    O = orjson.dumps(order())
    await t("null body", c, "POST", "/api/orders", raw=b"null", **J)
    await t("empty", c, "POST", "/api/orders", raw=b"", **J)
    await t("none", c, "POST", "/api/orders")
    await t("array", c, "POST", "/api/orders", raw=b"[]", **J)
    await t("no ct", c, "POST", "/api/orders", raw=O)
    await t("text", c, "POST", "/api/orders", raw=O, Content_Type="text/plain")
    await t("latin", c, "POST", "/api/orders", raw=O, Content_Type="application/json; charset=latin-1")
    await t("gzip", c, "POST", "/api/orders", raw=gzip.compress(O), Content_Encoding="gzip", **J)
    await t("nan", c, "POST", "/api/orders", raw=O.replace(b'"quantity":1', b'"quantity":NaN'), **J)
    await t("dup", c, "POST", "/api/orders", raw=O.replace(b'"quantity":1', b'"quantity":1,"quantity":2'), **J)
    await t("1e400", c, "POST", "/api/orders", raw=O.replace(b'"quantity":1', b'"quantity":1e400'), **J)
    await t("1.0", c, "POST", "/api/orders", raw=O.replace(b'"quantity":1', b'"quantity":1.0'), **J)
    await t("-0", c, "POST", "/api/orders", raw=O.replace(b'"quantity":1', b'"quantity":-0'), **J)
    await t("10**30", c, "POST", "/api/orders", raw=O.replace(b'"quantity":1', b'"quantity":1'+b'0'*30), **J)
    await t("10**5000", c, "POST", "/api/orders", raw=O.replace(b'"quantity":1', b'"quantity":1'+b'0'*5000), **J)
    await t("surrogate", c, "POST", "/api/orders", raw=O.replace(b'Springfield', b'\\ud800'), **J)
    await t("bad utf8", c, "POST", "/api/orders", raw=O.replace(b'Springfield', b'\xff'), **J)
    await t("bom", c, "POST", "/api/orders", raw=b"\xef\xbb\xbf"+O, **J)
    await t("ctl", c, "POST", "/api/orders", raw=O.replace(b'Springfield', b'a\\u0000b'), **J)
    await t("raw ctl", c, "POST", "/api/orders", raw=O.replace(b'Springfield', b'a\nb'), **J)
    await t("deep", c, "POST", "/api/orders", raw=b"["*5000+b"]"*5000, **J)
    await t("deep obj", c, "POST", "/api/orders", raw=b'{"a":'*33+b'1'+b"}"*33, **J)
    await t("trailing", c, "POST", "/api/orders", raw=O+b"x", **J)
    await t("65k", c, "POST", "/api/orders", raw=b" "*65*1024, **J)
    await t("64k+1", c, "POST", "/api/orders", raw=O+b" "*(65537-len(O)), **J)
    await t("64k", c, "POST", "/api/orders", raw=b"x"*(65536), **J)
    for m in ("PUT","PATCH","DELETE","OPTIONS","HEAD","TRACE","BREW"):
        a=None
        await t("method "+m, c, m, "/api/orders")
        a = await c(m, "/api/orders"); print(a.headers.get("Allow"))
    await t("POST /", c, "POST", "/"); await t("POST /health/live", an, "POST", "/health/live")
    await t("ifmatch none", s, "PUT", "/api/products/PEN-01", {k:v for k,v in product("x").items() if k!="sku"})
    await t("ifmatch bad", s, "PUT", "/api/products/PEN-01", {k:v for k,v in product("x").items() if k!="sku"}, If_Match="abc")
    await t("ifmatch weak", s, "PUT", "/api/products/PEN-01", {k:v for k,v in product("x").items() if k!="sku"}, If_Match='W/"1"')
    await t("ifmatch unq", s, "PUT", "/api/products/PEN-01", {k:v for k,v in product("x").items() if k!="sku"}, If_Match='1')
    await t("ifmatch del", s, "DELETE", "/api/products/PEN-01", If_Match='"9"')
    for cur in ("abc", "*", "e30", base64.urlsafe_b64encode(orjson.dumps(["", None, "x\x00"])).decode().rstrip("="), base64.urlsafe_b64encode(orjson.dumps(["", 5, "x"])).decode().rstrip("="), "", "a"*1001, "%00"):
        await t("cursor "+cur[:40], c, "GET", f"/api/orders?cursor={cur}")
    for cur in (["price","abc","x"],["price",None,"x"],["price",1e300,"x"],["price",2**63-1,"x"],["price",True,"x"]):
        e = base64.urlsafe_b64encode(orjson.dumps(cur)).decode().rstrip("=")
        await t("cursor "+str(cur), c, "GET", f"/api/products?sort=price&cursor={e}")
    e = base64.urlsafe_b64encode(orjson.dumps(["sagas",1e300,"x"])).decode().rstrip("=")
    await t("sagas cursor ", s, "GET", f"/api/sagas?cursor={e}")
    await t("orders w sagas cursor ", s, "GET", f"/api/orders?cursor={e}")
    for q in ("limit=0","limit=101","limit=abc","limit=1.5","limit=","limit=+5","limit=%D9%A1","x=1","limit=1&limit=2","status=odd","status="):
        await t(q, c, "GET", f"/api/orders?{q}")
    for q in ("min_price=-1","min_price=99999999999999999999","sort=odd","q=","q="+"a"*201,"max_price=1e3","min_price=999999999999999999"):
        await t(q[:30], an, "GET", f"/api/products?{q}")
    for q in ("since=today","since=2030-13-01T00:00:00Z","since=2030-01-01","stuck=1","stuck=","status=odd","since=9999-12-31T23:59:59-23:59","since=0001-01-01T00:00:00%2B14:00","since=2030-01-01T00:00:00Z"):
        await t(q, s, "GET", f"/api/sagas?{q}")
    print("--- queries on single")
    for p in (f"/api/orders/{oid}?x=1", f"/api/payments/{oid}?x=1", "/api/products/PEN-01?x=1", "/api/customers/me?x=1","/api/carts/me?x=1", f"/api/sagas/{oid}?x=1"):
        await t(p, c, "GET", p)
    await t("post query", c, "POST", "/api/orders?x=1", order())
    print("--- webhook")
    sec = shop.settings.carrier_secret
    now=int(time.time())
    B = orjson.dumps({"event_id":"e1","status":"delivered","occurred_at":"0001-01-01T00:00:00Z"})
    await t("webhook unsigned", an, "POST", f"/api/shipping/{oid}/events", raw=B, **J)
    await t("webhook old", an, "POST", f"/api/shipping/{oid}/events", raw=B, Carrier_Signature=sign(B,sec,now-301), **J)
    await t("webhook ok", an, "POST", f"/api/shipping/{oid}/events", raw=B, Carrier_Signature=sign(B,sec,now), **J)
    B = orjson.dumps({"event_id":"e2","status":"in_transit","occurred_at":"9999-12-31T23:59:59.999999Z"})
    await t("webhook ok", an, "POST", f"/api/shipping/{oid}/events", raw=B, Carrier_Signature=sign(B,sec,now), **J)
    trk = (await c("GET", f"/api/shipping/{oid}")).body["tracking_number"]
    await t("track", an, "GET", f"/api/shipping/track/{trk}")
    print((await an("GET", f"/api/shipping/track/{trk}")).raw)
    print("--- tokens")
    secret = shop.settings.jwt_secret
    claims = jwt.decode(c.token, options={"verify_signature":False})
    for lab, tok in {"expired": jwt.encode({**claims,"exp":1},secret,"HS256"), "forged": jwt.encode(claims,"x"*40,"HS256"), "none": jwt.encode(claims,None,"none"), "aud": jwt.encode({**claims,"aud":"x"},secret,"HS256"), "role": jwt.encode({**claims,"role":["staff"]},secret,"HS256"), "nan": jwt.encode({**claims,"exp":"NaN"},secret,"HS256"), "inf": jwt.encode({**claims,"exp":float("inf")},secret,"HS256"), "512": jwt.encode(claims,secret,"HS512"), "junk":"x", "long":"x"*5000}.items():
        a = await shop.bearing(tok)("GET","/api/orders"); show(lab,a); print(a.headers.get("WWW-Authenticate"))
    await t("basic", an, "GET", "/api/orders", Authorization="Basic abc")
    await t("bearer empty", an, "GET", "/api/orders", Authorization="Bearer ")
    await t("bad token on public", an, "GET", "/api/products/PEN-01", Authorization="Bearer x")
    a = await an("GET","/api/orders"); show("anon",a); print(dict(a.headers))
    for name, host in shop.shop.hosts.items():
        if host.runner.failed.done(): print("DEAD", name, host.runner.failed)
