package resource

// As finds an extension in v: v itself where it has the type T, else what it
// wraps, to any depth. A wrapper shows what it wraps by a method
//
//	Unwrap() B
//
// where B is the interface that is wrapped, such as compute.Instance. The
// second type argument is inferred:
//
//	p, ok := resource.As[compute.Pauser](inst)
//
// A wrapper that must intercept an extension implements it; all others it
// leaves to Unwrap.
func As[T, B any](v B) (T, bool) {
	for {
		if t, ok := any(v).(T); ok {
			return t, true
		}
		w, ok := any(v).(interface{ Unwrap() B })
		if !ok {
			var none T
			return none, false
		}
		v = w.Unwrap()
	}
}
