/* The least that a milter on libmilter can do: it negotiates everything away and
 * accepts at MAIL. With a second argument it asks for the header fields, without a
 * reply to each, looks at none, and accepts at their end. */
#include <libmilter/mfapi.h>

#define AWAY (SMFIP_NOCONNECT | SMFIP_NOHELO | SMFIP_NOBODY | SMFIP_NOUNKNOWN | SMFIP_NODATA)

static int fields;

static sfsistat envfrom(SMFICTX *ctx, char **argv) { return fields ? SMFIS_CONTINUE : SMFIS_ACCEPT; }
static sfsistat header(SMFICTX *ctx, char *name, char *value) { return SMFIS_NOREPLY; }
static sfsistat eoh(SMFICTX *ctx) { return SMFIS_ACCEPT; }

static sfsistat negotiate(SMFICTX *ctx, unsigned long f0, unsigned long f1, unsigned long f2, unsigned long f3,
                          unsigned long *pf0, unsigned long *pf1, unsigned long *pf2, unsigned long *pf3) {
	unsigned long rest = SMFIP_NORCPT | (fields ? SMFIP_NR_HDR | SMFIP_HDR_LEADSPC : SMFIP_NOHDRS | SMFIP_NOEOH);
	*pf0 = 0;
	*pf1 = f1 & (AWAY | rest);
	*pf2 = *pf3 = 0;
	return SMFIS_CONTINUE;
}

static struct smfiDesc milter = { .xxfi_name = "accept", .xxfi_version = SMFI_VERSION, .xxfi_envfrom = envfrom,
                                  .xxfi_header = header, .xxfi_eoh = eoh, .xxfi_negotiate = negotiate };

int main(int argc, char **argv) {
	fields = argc > 2;
	if (argc < 2 || smfi_register(milter) != MI_SUCCESS || smfi_setconn(argv[1]) != MI_SUCCESS) return 1;
	return smfi_main();
}
