package check

import "golang.org/x/sys/unix"

type space struct {
	free        uint64 // bytes
	fullOfFiles bool   // no inode is left
	nfs         bool
}

func spaceOf(path string) (space, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return space{}, err
	}
	return space{
		free:        st.Bavail * uint64(st.Bsize),
		fullOfFiles: st.Files > 0 && st.Ffree == 0,
		nfs:         int64(st.Type) == unix.NFS_SUPER_MAGIC,
	}, nil
}
