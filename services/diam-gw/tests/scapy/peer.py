"""A Diameter peer made of scapy's messages: introduces itself, asks whether the other side lives,
asks for the status of each IMEI, and prints what it reads in the answers, a line each.

Usage: peer.py HOST PORT IMEI...
"""

import socket
import sys

from scapy.contrib.diameter import AVP, DiamG, DiamReq

S13 = 16777252
TGPP = 10415


def exchange(stream, request):
    stream.sendall(bytes(request))
    data = b""
    while len(data) < 4 or len(data) < int.from_bytes(data[1:4], "big"):
        piece = stream.recv(4096)
        if not piece:
            raise SystemExit("the connection was closed")
        data += piece
    answer = DiamG(data)
    assert answer.drHbHId == request.drHbHId and answer.drEtEId == request.drEtEId
    assert answer.drFlags & 0x80 == 0, "a request instead of an answer"
    return answer


def find(avps, code, vendor=0):
    for avp in avps:
        if getattr(avp, "avpCode", None) == code and (getattr(avp, "avpVnd", None) or 0) == vendor:
            return avp.val
    return None


def origin():
    return [AVP("Origin-Host", val="scapy.example.net"), AVP("Origin-Realm", val="example.net")]


def main(host, port, imeis):
    stream = socket.create_connection((host, int(port)), timeout=20)
    capabilities = [
        AVP("Host-IP-Address", val="127.0.0.1"),
        AVP("Vendor-Id", val=0),
        AVP("Product-Name", val="scapy"),
        AVP("Auth-Application-Id", val=0xFFFFFFFF),
    ]
    cer = DiamReq("Capabilities-Exchange", drHbHId=1, drEtEId=1, avpList=origin() + capabilities)
    print("CEA", find(exchange(stream, cer).avpList, 268))
    dwr = DiamReq("Device-Watchdog", drHbHId=2, drEtEId=2, avpList=origin())
    print("DWA", find(exchange(stream, dwr).avpList, 268))
    for number, imei in enumerate(imeis, 3):
        terminal = [AVP([1402, TGPP], val=imei)]
        question = [
            AVP("Session-Id", val="scapy.example.net;1;%d" % number),
            AVP("Auth-Session-State", val=1),
            *origin(),
            AVP("Destination-Realm", val="example.net"),
            AVP([1401, TGPP], val=terminal),
        ]
        ecr = DiamReq(
            "ME-Identity-Check",
            drAppId=S13,
            drFlags=0xC0,
            drHbHId=number,
            drEtEId=number,
            avpList=question,
        )
        answer = exchange(stream, ecr).avpList
        experimental = find(answer, 297)
        code = find(experimental, 298) if experimental else find(answer, 268)
        print("ECA", code, find(answer, 1445, TGPP), find(answer, 264).decode())


main(sys.argv[1], sys.argv[2], sys.argv[3:])
