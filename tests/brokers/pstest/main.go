// Command pstest serves Google's wire-level fake of Pub/Sub so that tests can break it.
//
// The store lives as long as the process. The endpoint that clients talk to is opened and closed
// by commands on a second, plain HTTP port, so that an outage is a real one for clients; and the
// clock of the fake is moved forward by commands, so that nobody has to wait for deadlines.
//
//	pstest PORT CONTROL [CERTIFICATE KEY CALLER]
//
// With a certificate the endpoint speaks TLS, and a call needs a token of this caller, which is
// signed with that same key.
package main

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	pb "cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

const (
	largest     = 12 << 20 // bytes; the service takes requests of 10 MB
	fewest      = 10       // seconds of a subscription's deadline; the fake's own default is none
	mostAckIDs  = 1000
	mostAckText = 512 << 10
)

type endpoint struct {
	address string
	fake    *pstest.Server
	options []grpc.ServerOption

	mu      sync.Mutex
	serving *grpc.Server
	calls   atomic.Int64
	ahead   atomic.Int64
	denied  sync.Map
	reject  atomic.Int64
}

func (e *endpoint) open() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.serving != nil {
		return nil
	}
	listener, err := net.Listen("tcp", e.address)
	if err != nil {
		return err
	}
	server := grpc.NewServer(e.options...)
	pb.RegisterPublisherServer(server, &e.fake.GServer)
	pb.RegisterSubscriberServer(server, &e.fake.GServer)
	e.serving = server
	go server.Serve(listener)
	return nil
}

func (e *endpoint) close(hard bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.serving == nil {
		return
	}
	if hard {
		e.serving.Stop()
	} else {
		e.serving.GracefulStop()
	}
	e.serving = nil
}

// refuse does what the service does and the fake does not: it counts, and it knows limits.
func (e *endpoint) refuse(
	ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler,
) (any, error) {
	e.calls.Add(1)
	method := info.FullMethod[strings.LastIndex(info.FullMethod, "/")+1:]
	if _, found := e.denied.Load(method); found {
		return nil, status.Errorf(codes.PermissionDenied, "User not authorized to perform this action.")
	}
	var ids []string
	switch r := request.(type) {
	case *pb.AcknowledgeRequest:
		ids = r.AckIds
	case *pb.ModifyAckDeadlineRequest:
		ids = r.AckIds
		if r.AckDeadlineSeconds < 0 || r.AckDeadlineSeconds > 600 {
			return nil, status.Errorf(codes.InvalidArgument, "bad deadline %d", r.AckDeadlineSeconds)
		}
	case *pb.PublishRequest:
		if err := publishable(r); err != nil {
			return nil, err
		}
	}
	size := 0
	for _, id := range ids {
		size += len(id)
	}
	if len(ids) > mostAckIDs || size > mostAckText {
		return nil, status.Errorf(codes.InvalidArgument, "too many ack ids: %d", len(ids))
	}
	if len(ids) > 0 && e.reject.Load() > 0 && e.reject.Add(-1) >= 0 {
		return nil, rejection(ids)
	}
	return handle(ctx, request)
}

func publishable(request *pb.PublishRequest) error {
	size := 0
	for _, message := range request.Messages {
		size += len(message.Data)
		if len(message.Data) == 0 && len(message.Attributes) == 0 {
			return status.Errorf(codes.InvalidArgument, "an empty message")
		}
		for name, value := range message.Attributes {
			size += len(name) + len(value)
			if len(name) > 256 || len(value) > 1024 {
				return status.Errorf(codes.InvalidArgument, "attribute %s is too long", name)
			}
		}
	}
	if size > 10_000_000 || len(request.Messages) > 1000 {
		return status.Errorf(codes.InvalidArgument, "the request is too large: %d bytes", size)
	}
	return nil
}

func (e *endpoint) now() time.Time {
	return time.Now().Add(time.Duration(e.ahead.Load()))
}

func signed(caller string, key *rsa.PublicKey) grpc.UnaryServerInterceptor {
	return func(
		ctx context.Context, request any, _ *grpc.UnaryServerInfo, handle grpc.UnaryHandler,
	) (any, error) {
		found, _ := metadata.FromIncomingContext(ctx)
		if words := found.Get("authorization"); len(words) != 1 || !valid(words[0], caller, key) {
			return nil, status.Errorf(codes.Unauthenticated, "Invalid authentication credentials.")
		}
		return handle(ctx, request)
	}
}

func valid(word, caller string, key *rsa.PublicKey) bool {
	parts := strings.Split(strings.TrimPrefix(word, "Bearer "), ".")
	if len(parts) != 3 {
		return false
	}
	signature, _ := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[2], "="))
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], signature) != nil {
		return false
	}
	text, _ := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	var claims struct{ Iss string }
	return json.Unmarshal(text, &claims) == nil && claims.Iss == caller
}

// rejection answers as a subscription with exactly-once delivery does when ids are no good.
func rejection(ids []string) error {
	reasons := map[string]string{ids[0]: "PERMANENT_FAILURE_INVALID_ACK_ID"}
	if len(ids) > 1 {
		reasons[ids[1]] = "TRANSIENT_FAILURE_SERVICE_UNAVAILABLE"
	}
	info := &errdetails.ErrorInfo{Reason: "ACK_IDS", Domain: "pubsub", Metadata: reasons}
	answer, err := status.New(codes.FailedPrecondition, "Some ack ids failed.").WithDetails(info)
	if err != nil {
		return err
	}
	return answer.Err()
}

func (e *endpoint) control(listener net.Listener) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/open", func(w http.ResponseWriter, _ *http.Request) {
		if err := e.open(); err != nil {
			http.Error(w, err.Error(), http.StatusConflict)
		}
	})
	mux.HandleFunc("/close", func(_ http.ResponseWriter, r *http.Request) {
		e.close(r.FormValue("hard") != "")
	})
	mux.HandleFunc("/advance", func(w http.ResponseWriter, r *http.Request) {
		seconds, err := strconv.ParseFloat(r.FormValue("seconds"), 64)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, "%f", float64(e.ahead.Add(int64(seconds*1e9)))/1e9)
	})
	mux.HandleFunc("/calls", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, e.calls.Load())
	})
	// /deny?method=Pull has the service refuse this method; /allow permits all again
	mux.HandleFunc("/deny", func(_ http.ResponseWriter, r *http.Request) {
		e.denied.Store(r.FormValue("method"), true)
	})
	// /reject?times=2 has two calls about ids answered as with exactly-once delivery
	mux.HandleFunc("/reject", func(_ http.ResponseWriter, r *http.Request) {
		times, _ := strconv.ParseInt(r.FormValue("times"), 10, 64)
		e.reject.Store(times)
	})
	mux.HandleFunc("/allow", func(_ http.ResponseWriter, _ *http.Request) {
		e.denied.Clear()
	})
	return http.Serve(listener, mux)
}

func main() {
	if len(os.Args) != 3 && len(os.Args) != 6 {
		fmt.Fprintln(os.Stderr, "pstest PORT CONTROL [CERTIFICATE KEY CALLER]")
		os.Exit(2)
	}
	fake := pstest.NewServerWithAddress("127.0.0.1:0")
	e := &endpoint{address: "127.0.0.1:" + os.Args[1], fake: fake}
	interceptors := []grpc.UnaryServerInterceptor{}
	if len(os.Args) > 3 {
		pair, err := tls.LoadX509KeyPair(os.Args[3], os.Args[4])
		check(err)
		e.options = append(e.options, grpc.Creds(credentials.NewServerTLSFromCert(&pair)))
		key := pair.PrivateKey.(*rsa.PrivateKey)
		interceptors = append(interceptors, signed(os.Args[5], &key.PublicKey))
	}
	e.options = append(e.options,
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second}),
		grpc.MaxRecvMsgSize(largest), grpc.MaxSendMsgSize(1<<30),
		grpc.ChainUnaryInterceptor(append(interceptors, e.refuse)...))
	pstest.SetMinAckDeadline(fewest * time.Second)
	fake.SetTimeNowFunc(e.now)
	listener, err := net.Listen("tcp", "127.0.0.1:"+os.Args[2])
	check(err)
	check(e.open())
	check(e.control(listener))
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
