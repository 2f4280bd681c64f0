//go:build cgo && (libvirt || libvirt_dlopen)

package libvirt

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	lv "libvirt.org/go/libvirt"

	"github.com/univirt/univirt/compute"
	"github.com/univirt/univirt/resource"
)

// Export implements compute.Images: it writes the bytes that were imported.
func (s images) Export(ctx context.Context, w io.Writer, names []string, opts compute.ExportOptions) error {
	name := ""
	if len(names) == 1 {
		name = names[0]
	}
	return s.do(ctx, "export", name, checkExport(w, names, opts), func(ctx context.Context) error {
		if opts.Format != "" && !isDiskFormat(opts.Format) {
			return &resource.Error{Kind: errors.ErrUnsupported, Field: "format", Err: errors.New(noContainers)}
		}
		img, err := s.find(ctx, name)
		if err != nil {
			return err
		}
		switch {
		case opts.Format != "" && opts.Format != img.Format:
			return &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "format", Err: fmt.Errorf("the image is %s", img.Format)}
		case opts.Platform != (compute.Platform{}) && opts.Platform != img.Platform:
			return &resource.Error{Kind: errdefs.ErrFailedPrecondition, Field: "platform", Err: fmt.Errorf("the image is for %q", img.Platform)}
		}
		file := imageFile(img.docs[0].ID)
		total, err := onVolume(ctx, s.p, s.p.opts.Pool, file, func(_ *lv.Connect, v *lv.StorageVol) (int64, error) {
			info, err := v.GetInfoFlags(lv.STORAGE_VOL_GET_PHYSICAL)
			if err != nil {
				return 0, err
			}
			return int64(info.Allocation), nil
		})
		if err != nil {
			return err
		}
		m := newMeter(opts.Progress, "export", s.ref(name))
		m.phase("copying")
		m.moved(0, total)
		err = s.p.download(ctx, s.p.opts.Pool, file, w, func(done int64) { m.moved(done, total) })
		m.finish(err)
		return err
	})
}

func checkExport(w io.Writer, names []string, opts compute.ExportOptions) resource.Faults {
	faults := opts.Validate()
	if w == nil {
		faults.Add("w", "must not be nil")
	}
	for i, name := range names {
		faults.AddReason(fmt.Sprintf("names[%d]", i), compute.CheckImageReference(name))
	}
	if len(names) != 1 {
		faults.Add("names", "must be one: a disk image is one file")
	}
	return faults
}
